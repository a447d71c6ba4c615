"""The queue of runs: what a run is called while it waits, and whether it is quick.

What belongs here: Dagster's own queue, which gives each run the tags of its session and of its work as it comes in,
through whichever door: the interface, a backfill, a sensor. ``dagster.yaml`` names it, and says how many go at once.
"""

from __future__ import annotations

import dagster as dg

from ..defs.standing.quick import work_of_run
from ..io.session_names import tags_of_run


class SessionQueue(dg.QueuedRunCoordinator):
    """Dagster's queue; runs that wait in it are told apart by subject, date and number, and quick ones go first."""

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Put a run into the queue."""
        instance, run = self._instance, context.dagster_run
        tags = {**work_of_run(run), **tags_of_run(instance, run)}
        if new := {name: text for name, text in tags.items() if run.tags.get(name) != text}:
            instance.add_run_tags(run.run_id, new)
        return super().submit_run(context)
