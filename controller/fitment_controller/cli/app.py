"""The command tree: which module has which command, and what an error's exit status is."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from fitment_controller.cli.failures import report
from fitment_controller.errors import ControllerError

_MODULES: Final = {
    "compress": "fitment_compress.cli",
    "technique": "fitment_compress.cli_show",
    "portfolio": "fitment_compress.cli_show",
    "demo": "fitment_controller.cli.demo",
    "up": "fitment_controller.cli.up",
    "status": "fitment_controller.cli.status",
    "device": "fitment_controller.cli.device",
    "model": "fitment_controller.cli.model",
    "profile": "fitment_controller.cli.profile",
    "plan": "fitment_controller.cli.rollout",
    "rollout": "fitment_controller.cli.rollout",
    "event": "fitment_controller.cli.event",
    "converter": "fitment_controller.cli.converter",
}
"""Command to the module whose `register(app)` adds it."""


_EXTRAS: Final = {
    "compress": "compress",
    "converter": "compress",
    "demo": "demo",
    "portfolio": "compress",
    "technique": "compress",
}
"""The extra that a command needs where that is not `controller`."""


class MissingExtraError(ControllerError):
    """This installation is a device's: the libraries of headquarters are not there."""

    kind = "missing_extra"

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"this command needs the library {library}, which is not installed",
            f"pip install 'fitment[{extra}]'",
        )


class LazyGroup(TyperGroup):
    """Imports a command's module when the command is used, and turns errors into exit statuses."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands of all modules that are installed, in the order of their use."""
        return [name for name, module in _MODULES.items() if _exists(module)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, freshly imported; None when there is none."""
        module = _MODULES.get(cmd_name)
        if module is None or not _exists(module):
            return None
        holder = typer.Typer(rich_markup_mode=None)
        importlib.import_module(module).register(holder)
        return get_group(holder).commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. An error becomes one message and one status, a closed pipe silence."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except ControllerError as error:
            raise typer.Exit(report(error)) from None
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("fitment"):
                raise
            extra = _EXTRAS.get(ctx.invoked_subcommand or "", "controller")
            raise typer.Exit(
                report(MissingExtraError(error.name.partition(".")[0], extra))
            ) from None
        except BrokenPipeError:
            _discard_output()
            raise typer.Exit(0) from None
        return result


app = typer.Typer(
    cls=LazyGroup,
    help="Fit one trained model to every device of an edge fleet.",
    epilog="Begin with `fitment demo`, or with `fitment up` and `fitment compress MODEL.onnx`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fitment {version('fitment')}")
        raise typer.Exit()


@app.callback()
def _fitment(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Fit one trained model to every device of an edge fleet."""


def _exists(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _discard_output() -> None:
    """The reader is gone: what is still buffered must not fail again at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
