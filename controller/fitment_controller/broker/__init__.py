"""The MQTT broker behind one seam: start it, know where it is, know whether it answers.

Mosquitto and the NATS server run as supervised child processes with generated configuration; any
other broker is only pointed at. The controller needs MQTT 3.1.1 with retained messages and wills,
nothing else, and believes nothing that a broker has stored: after every connection it publishes
all desired state again.
"""
