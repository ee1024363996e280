"""Headquarters: keeps the registry, picks a variant per device, rolls it out and reads what it did.

`decisions/` is pure, `service/` runs it over `store/`, and `api/`, `cli/`, `broker/` and
`gateway.py` are the ways in and out. `wiring.py` puts the real parts together.
"""
