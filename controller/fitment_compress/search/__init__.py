"""Explores techniques, their orders and strengths under a time budget: `--search`.

`explore.py` is the loop. It asks `study.py`, the sampler and its storage, for recipes out of
`space.py`, lets an evaluator (`seam.py`) build and measure them, and decides with `front.py`,
`ladder.py` and `budget.py` what is worth the time that is left.
"""
