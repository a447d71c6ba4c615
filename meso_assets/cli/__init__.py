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

#: What a person wants → commands for it, each with a line that fits a terminal: so `meso --help` loads none of them.
_GROUPS = {
    "To begin with": {
        "demo": "Simulate a session, make all of it, and show what was made.",
        "simulate": "Simulate a session with ground truth.",
    },
    "Day by day": {
        "run": "Process sessions, or some of their results.",
        "preflight": "Tell whether sessions can be processed, and what that takes.",
        "scan": "Show which folders are ready, wait, or break a rule.",
        "status": "Show how each result of each session stands, and why.",
        "qc": "Show all verdicts on sessions, or say whether one is good.",
        "report": "Make the report of sessions, or an index of all reports.",
        "overview": "Make the page with all sessions, and print where it is.",
    },
    "Interface and services": {
        "dev": "Open the interface on this machine, until Ctrl-C.",
        "serve": "Run interface, sensors and runs as a service, until SIGTERM.",
        "worker": "Take steps of sessions from a broker, until SIGTERM.",
    },
    "Where results come from": {
        "lineage": "Tell where a file comes from, and what was made from it.",
        "audit": "Compare files, their records, and Dagster's log.",
        "diff": "Compare the results of two runs, or of two sessions.",
        "reproduce": "Make a result again, and compare it bit by bit.",
    },
    "Storage": {
        "remove-raw": "Remove raw tifs that a verified archive holds.",
        "restore": "Bring removed raw tifs back, with their names and times.",
        "versions": "List earlier versions of results, or bring one back.",
    },
    "For other programs": {
        "alyx": "Show what Alyx would be told, and compare what it holds.",
        "one-tables": "Write the tables with which ONE lists and loads sessions.",
    },
    "Care of the platform": {
        "instance": "Check, back up or repair Dagster's records.",
        "prune": "Remove what old runs have left in Dagster's records.",
        "notices": "Show where notices of failures go, and try them.",
    },
}
_COMMANDS = {name: line for commands in _GROUPS.values() for name, line in commands.items()}


class _LazyGroup(click.Group):
    """Imports a command when it is asked for, so that ``meso --help`` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  as above
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  as above
        """Write the commands below what they are for."""
        width = max(map(len, _COMMANDS))
        for title, commands in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", line) for name, line in commands.items()])

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
