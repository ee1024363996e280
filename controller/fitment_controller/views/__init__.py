"""View-models: one object per screen, the same for the command line, the web and JSON.

Views are made from domain records by pure functions. Field names carry base units; a reader who
wants milliseconds or megabytes converts at the very end.
"""
