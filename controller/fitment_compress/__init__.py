"""Source model to portfolio: builds compressed variants of one model and measures each of them.

It knows no fleet. `fitment_compress.compress.compress` is the whole run as a function,
`fitment_compress.cli` the same as a command.
"""
