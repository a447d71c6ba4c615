"""The command line ``meso``: one file per command; each prints, and leaves the work to the rest of the package."""

from __future__ import annotations

import atexit
import difflib
import gc
import importlib
import sys
import warnings
from typing import NoReturn

import click

_COMMANDS = {
    "simulate": "simulate",
    "run": "run",
    "preflight": "preflight",
    "scan": "scan",
    "status": "status",
    "overview": "overview",
    "audit": "audit",
    "report": "report",
    "qc": "qc",
    "alyx": "alyx",
    "lineage": "lineage",
    "reproduce": "reproduce",
    "diff": "diff",
    "demo": "demo",
    "dev": "dev",
    "serve": "serve",
    "worker": "worker",
    "restore": "restore",
    "versions": "versions",
    "one-tables": "one_tables",
    "remove-raw": "remove_raw",
    "instance": "instance",
    "notices": "notices",
    "prune": "prune",
}


class _LazyGroup(click.Group):
    """Imports a command when it is asked for, so that ``meso --help`` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  as above
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{_COMMANDS[cmd_name]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the command that is meant where one is misspelt."""
        if args and args[0] not in _COMMANDS and (near := difflib.get_close_matches(args[0], _COMMANDS, n=1)):
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup)
@click.version_option(package_name="meso")
def group() -> None:
    """Process two-photon mesoscope sessions: raw ScanImage folders in, ALF and suite2p out.

    Settings come from the environment (MESO_ROOT, …) or from a file; the README lists them.
    """


def main() -> None:
    """Run the command line; an error or a warning of meso is one line, not a traceback."""
    from meso_core.errors import MesoError, MesoWarning

    as_python_does = warnings.formatwarning

    def one_line(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, MesoWarning):
            return f"warning: {message}\n"
        return as_python_does(message, category, filename, lineno, line)

    warnings.formatwarning = one_line
    atexit.register(gc.freeze)  # of what goes with the process nothing is to be collected
    try:
        group(prog_name="meso")
    except MesoError as error:
        _end(error)
    except Exception as error:
        from ..runs.instance.records import error_of_records

        if (named := error_of_records(error)) is None:
            raise
        _end(named)


def _end(error: Exception) -> NoReturn:
    click.echo(f"{type(error).__name__}: {error}", err=True)
    sys.exit(2)
