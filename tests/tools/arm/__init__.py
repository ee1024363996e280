"""Emulated ARM devices on an x86-64 Debian host: root file systems, boards, a virtual machine.

Instructions run under QEMU, files of /proc and /sys are those of a board, everything else is the
host's. So it shows whether the agent's code, its packages and its kernels work on such a device,
and never how fast: an emulated inference takes 100 to 300 times as long as one on the host.
"""
