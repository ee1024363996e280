"""Makes the agent a service of this device, and takes it away again without a trace.

A plan is a list of steps, made from a few answers and what the machine looks like; each step knows
how to be done and how to be undone, and doing either again changes nothing. So an installation
that was cut off half way is completed by installing again, and removed by uninstalling.

    steps.py            the kinds of steps
    machine.py          the file system under a prefix, and commands
    answers.py          what a person decides, as the agent's configuration file
    systemd.py runit.py termux.py   one plan each
    devices.py          device files that the unit lets through
    managers.py         which of them this machine has
    files/              what is written, in its own syntax
"""
