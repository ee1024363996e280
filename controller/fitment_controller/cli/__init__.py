"""The `fitment` command.

Standard output carries data, standard error everything said to people. Each noun is a module that
is imported only when it is used, so that a command starts as fast as its own needs allow.
"""

from __future__ import annotations


def main() -> None:
    """The entry point of the installed command."""
    from fitment_controller.cli.app import app

    app(prog_name="fitment")
