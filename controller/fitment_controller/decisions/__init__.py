"""What headquarters decides, as pure functions over records.

Nothing here does I/O: the clock, the evidence and what devices reported are arguments. Read in the
order of the data: `classify`, `evidence`, `numbers`, `filters`, `selection`, `plan`, then
`transitions`, `members`, `gates`, `strata`, `rollout`, and `desired` for what devices are told.
"""
