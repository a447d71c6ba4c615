"""The one partition of the platform: sessions."""

from __future__ import annotations

import dagster as dg

from ..io.session_names import SESSION_PARTITION

#: A partition key is the name of a session (``io.session_names``). Keys are added, and only a migration of names
#: (``renaming``) takes one away: a run in flight whose key vanishes would lose its work.
session_partitions = dg.DynamicPartitionsDefinition(name=SESSION_PARTITION)
