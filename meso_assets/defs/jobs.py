"""Jobs: named selections of assets that are run together for one session."""

from __future__ import annotations

import dagster as dg

from .catalogue import CATALOGUE
from .standing.quick import QUICK_ASSETS, tags_of_work

#: Everything that can be made from a session.
PROCESS_SESSION = "process_session"
#: What is quick: metadata, ratings, times, places and their records in Alyx; no suite2p, no archive.
TIME_AND_PLACE_SESSION = "time_and_place_session"

#: An interrupted run is run again as a whole: what is current returns at once. Dagster's own way, from the step that
#: failed, loses the steps per field of view.
_AGAIN = {"dagster/retry_strategy": "ALL_STEPS"}

session_jobs = (
    dg.define_asset_job(
        PROCESS_SESSION,
        selection=dg.AssetSelection.assets(*CATALOGUE),
        description="Process a whole session: metadata, archive, motion registration, cells, times, places, records.",
        tags={"dagster/max_runtime": str(24 * 3600), **_AGAIN},
    ),
    dg.define_asset_job(
        TIME_AND_PLACE_SESSION,
        selection=dg.AssetSelection.assets(*QUICK_ASSETS),
        description="The quick part of a session: metadata, frame ratings, frame times, places in the brain, and what "
        "Alyx is told of places and snapshots, which is sent where MESO_ALYX is online.",
        tags={"dagster/max_runtime": str(3600), **_AGAIN, **tags_of_work(QUICK_ASSETS)},
    ),
)
