"""``meso worker``: take steps of sessions from the queues of a broker."""

from __future__ import annotations

import socket

import click

from ..runs.settings.settings import load_settings


@click.command("worker")
@click.option("--queues", default="io,memory", show_default=True, help="Queues to serve: io, memory, gpu.")
@click.option("--at-once", type=click.IntRange(1), help="Most steps at once (default: as many FOVs as fit).")
@click.option("--room-gb", type=float, default=5.0, show_default=True, help="Room that the temporary folder must have.")
@click.option("--name", help="Name of the worker (default: meso@ this machine).")
def command(queues: str, at_once: int | None, room_gb: float, name: str | None) -> None:
    """Take steps of sessions from the broker that MESO_BROKER names, until SIGTERM.

    It listens to nobody but the broker. Before it takes anything it looks whether the records and the root can be
    reached, whether there is room, and whether it has the code and the atlas of what leads the runs
    (docs/workstations.md).
    """
    from ..runs.executors.celery.worker import fit_worker, serve

    settings = load_settings()
    chosen = [queue.strip() for queue in queues.split(",") if queue.strip()]
    worker = fit_worker(settings, chosen, room_gb)
    called = name or f"meso@{socket.gethostname()}"
    click.echo(f"worker {called} of the queues {', '.join(worker.queues)}, sessions in {settings.root}")
    serve(worker, called if "@" in called else f"{called}@{socket.gethostname()}", at_once or settings.parallel_fovs)
