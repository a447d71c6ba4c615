"""How one session stands, as the platform says of all."""

from __future__ import annotations

import dagster as dg

from meso_assets.io.resources import Platform
from meso_assets.runs.status.cells import AssetStatus
from meso_assets.runs.status.status import status_of
from meso_core.session import SessionKey


def session_status(
    platform: Platform, instance: dg.DagsterInstance, key: SessionKey
) -> tuple[list[AssetStatus], tuple[str, ...]]:
    """Judge all assets of one session, in the order of the catalogue; and what is remarked."""
    (found,) = status_of(platform.settings, instance, [key])
    return list(found.cells), found.all_remarks
