"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fitment_controller.cli.output import Format
from fitment_controller.client import Client, connect
from fitment_controller.settings import load_client_settings

Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]
Url = Annotated[
    str | None,
    typer.Option("--url", help="The controller's address [FITMENT_URL].", show_default=False),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="File with the API token [FITMENT_TOKEN_FILE].", show_default=False
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="The controller's data directory [FITMENT_DATA].", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def client(url: str | None, token_file: Path | None, data: Path | None) -> Client:
    """A client for the controller that the options, the environment or the data name."""
    flags = {"url": url, "token_file": token_file, "data_dir": data}
    return connect(load_client_settings(flags))
