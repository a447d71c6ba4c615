"""Group alyx: records for the database, built and shown; nothing is sent from here."""

from __future__ import annotations

from typing import Any

import dagster as dg

from ..io.managers import FovDatasets, Product, SessionFiles
from ..io.resources import OpenSession
from .session_asset import session_asset

RECORDS = "alyx/fov_records.json"


@session_asset("alyx_fov_records", io_manager="session_files", inputs=("imaging_metadata", "mean_image_mlapdv"))
def alyx_fov_records(
    session: OpenSession, context: Any, imaging_metadata: SessionFiles, mean_image_mlapdv: FovDatasets
) -> Product:
    """Build the records of all fields of view, as they would be sent."""
    from meso_core.alyx import register_fov
    from meso_core.location import read_locations

    locations = read_locations(session.path / "alf" / "fovs.locations.json")
    records = register_fov(session.metadata(), locations, session=session.key)
    return Product(
        session.stage("alyx_fov_records"),
        texts={RECORDS: records.to_json()},
        metadata={
            "imaging_stacks": len(records.stacks),
            "fields_of_view": len(records.fields_of_view),
            "locations": len(records.locations),
            "phantom": records.is_phantom,
            "records": dg.MetadataValue.md(f"```json\n{records.to_json()[:6000]}\n```"),
        },
    )
