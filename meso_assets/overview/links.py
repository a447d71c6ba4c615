"""Where the overview, the reports of sessions and their lineage are in the interface.

What belongs here: their addresses. Dagster has a page of its own at ``/overview``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import dagster as dg

from ..defs.reporting import REPORT_FILE

OVERVIEW_PATH = "/meso/overview"
#: Behind it comes the name of a session.
LINEAGE_PATH = "/meso/lineage"
#: Metadata entry of an asset that leads to it. Records last, and the interface may get a prefix: so the address is
#: relative, and the web server leads from wherever in Dagster's pages it was followed (``web.routes``).
OVERVIEW_LINK: Mapping[str, Any] = {"overview": dg.MetadataValue.url(OVERVIEW_PATH[1:])}


def report_link(session: str) -> dict[str, Any]:
    """Metadata entry of a result that leads to the report of its session, whose key is given."""
    return {"report": dg.MetadataValue.url(f"{OVERVIEW_PATH[1:]}/files/{quote(session)}/-/{REPORT_FILE}")}
