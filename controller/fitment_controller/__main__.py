"""`python -m fitment_controller`: the `fitment` command without an installed script."""

from fitment_controller.cli import main

main()
