"""`python -m fitment_agent`, the same command without an installed script."""

from fitment_agent.cli import main

main()
