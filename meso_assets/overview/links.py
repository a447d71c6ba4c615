"""Where the overview is in the interface.

What belongs here: its address. Dagster has a page of its own at ``/overview``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

OVERVIEW_PATH = "/meso/overview"
#: Metadata entry of an asset that leads to it.
OVERVIEW_LINK: Mapping[str, Any] = {"overview": dg.MetadataValue.url(OVERVIEW_PATH)}
