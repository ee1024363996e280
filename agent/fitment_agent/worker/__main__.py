"""`python -m fitment_agent.worker`: one job on standard input, one JSON line per event."""

from fitment_agent.worker.process import main

main()
