"""What devices and controller say to each other, and nothing else.

Everything here is a record, a table or a pure function over them; it needs pydantic and the
standard library. `fitment_agent` and `fitment_controller` both stand on it and never on each
other.
"""
