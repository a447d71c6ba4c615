"""Raw files as Dagster has seen them: told once for each version, with what a person reads of them.

What belongs here: what is due, and telling it. What does not: how the events are made (``dagster_internals``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import dagster as dg

from ..dagster_internals import last_seen, observation

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def unseen(
    instance: dg.DagsterInstance, session: str, versions: Mapping[str, str], shown: Mapping[str, Any] = _NOTHING
) -> list[dg.AssetObservation]:
    """Make the events that are due.

    Parameters
    ----------
    instance
        Dagster's records.
    session
        Partition key.
    versions
        Raw asset → version of its files now.
    shown
        Raw asset → what is shown of its files.

    Returns
    -------
    list of AssetObservation
        Of each raw asset that Dagster has not seen last in this version.
    """
    return [
        observation(asset, session, version, metadata=shown.get(asset))
        for asset, version in versions.items()
        if last_seen(instance, asset, session) != version
    ]


def observe(
    instance: dg.DagsterInstance, session: str, versions: Mapping[str, str], shown: Mapping[str, Any] = _NOTHING
) -> bool:
    """Report what is due; returns whether there was anything. Parameters as for :func:`unseen`."""
    due = unseen(instance, session, versions, shown)
    for event in due:
        instance.report_runless_asset_event(event)
    return bool(due)
