"""The one partition of the platform: sessions.

What belongs here: the partition and its way to and from :class:`~meso_core.session.SessionKey`.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from meso_core.session import SessionKey

SESSION_PARTITION = "session"

#: A partition key is the ALF short path of a session, ``subject/date/number``. Keys are added, never deleted:
#: a run in flight whose key vanishes would lose its work.
session_partitions = dg.DynamicPartitionsDefinition(name=SESSION_PARTITION)

_CHUNK = 5000  # some SQLite builds limit the variables of one query


def known_sessions(instance: dg.DagsterInstance) -> set[str]:
    """Partition keys that the instance has."""
    return set(instance.get_dynamic_partitions(SESSION_PARTITION))


def add_sessions(instance: dg.DagsterInstance, keys: Iterable[SessionKey]) -> list[str]:
    """Add partitions for sessions that have none yet, and return the new keys."""
    known = known_sessions(instance)
    new = [str(key) for key in keys if str(key) not in known]
    for start in range(0, len(new), _CHUNK):
        instance.add_dynamic_partitions(SESSION_PARTITION, new[start : start + _CHUNK])
    return new
