"""The queue of runs: what a run is called while it waits.

What belongs here: Dagster's own queue, which gives each run the tags of its session as it comes in, through whichever
door: the interface, a backfill, a sensor. ``dagster.yaml`` names it.
"""

from __future__ import annotations

import dagster as dg

from ..io.session_names import tags_of_run


class SessionQueue(dg.QueuedRunCoordinator):
    """Dagster's queue; runs that wait in it are told apart by subject, date and number."""

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Put a run into the queue."""
        instance, run = self._instance, context.dagster_run
        if new := {name: text for name, text in tags_of_run(instance, run).items() if run.tags.get(name) != text}:
            instance.add_run_tags(run.run_id, new)
        return super().submit_run(context)
