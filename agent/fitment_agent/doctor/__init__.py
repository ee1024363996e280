"""Looks for what keeps an agent from working on this device, and names what mends it.

finding.py          one answer: well, doubtful or failed, and the command that mends it
patient.py          what every check may look at
examination.py      all checks in their order; the screen
everything else     one check per file
"""
