"""The worker: a child process that does one hostile or heavy job and goes away.

The daemon imports `jobs` to know what can be asked and answered, and nothing else from here.
"""
