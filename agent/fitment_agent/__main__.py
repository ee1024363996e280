"""`python -m fitment_agent`: the same as `fitment-agent`."""

from fitment_agent.cli import main

main()
