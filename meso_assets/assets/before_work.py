"""What the two steps that begin long work ask first: whether the session can be processed, and what that takes.

What belongs here: asking, and showing the answer in the log and beside the result. What is asked is in
``defs.preflight``.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from meso_core.imaging.preflight import ROOM
from meso_core.session import SessionMetadata

from ..defs.catalogue import CATALOGUE
from ..defs.preflight import ESTIMATE_TAG, Flight, look_ahead
from ..io.resources import Platform
from .session_asset import AssetRun


def tell_estimate(run: AssetRun, metadata: SessionMetadata | None = None) -> dict[str, Any]:
    """Refuse a session that cannot be processed, and tell what the run will take.

    Parameters
    ----------
    run
        The run of an asset; what its run makes besides counts too.
    metadata
        Imaging metadata, where the asset reads them; without, the room alone is judged, by the size of the tifs.

    Returns
    -------
    dict
        The estimate, to be shown beside the result.

    Raises
    ------
    MesoError
        Why the session cannot be processed.
    """
    dagster_run = run.context.run
    chosen = {key.path[-1] for key in dagster_run.asset_selection or ()} & set(CATALOGUE) or set(CATALOGUE)
    if metadata is None:
        chosen -= {"frame_times"}  # it is for those who know the frames to compare them with the pulses
    flight = Flight(Platform.open(run.settings), run.context.instance, run.seen, chosen, run.options.get("suite2p", {}))
    ahead = look_ahead(flight, metadata, may_read=False)
    # an archive is worth having, whatever becomes of the movies: but it must not take the last room
    ahead.refuse(*((ROOM,) if metadata is None else ()))
    estimate = str(ahead.estimate)
    run.context.log.info(f"{run.session.key} takes {estimate}")
    if metadata is not None:  # else another step knows more
        run.context.instance.add_run_tags(dagster_run.run_id, {ESTIMATE_TAG: estimate})
    return _shown(estimate)


def estimate_metadata(run: AssetRun) -> dict[str, Any]:
    """Return what :func:`tell_estimate` told in an earlier step of the same run."""
    found = run.context.instance.get_run_by_id(run.context.run.run_id)
    estimate = found.tags.get(ESTIMATE_TAG) if found else None
    return _shown(estimate) if estimate else {}


def _shown(estimate: str) -> dict[str, Any]:
    return {"estimated": dg.MetadataValue.text(estimate)}
