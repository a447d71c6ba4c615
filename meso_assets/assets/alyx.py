"""Group alyx: records for the database, built and shown; nothing is sent from here."""

import dagster as dg

from meso_core.session import SessionMetadata

from ..defs.catalogue import CATALOGUE
from ..io.published import LocatedFovs
from ..io.resources import Platform
from .session_asset import AssetRun, Product, Result, materialized, session_asset

RECORDS = "alyx/fov_records.json"
_RECORDS = CATALOGUE["alyx_fov_records"]


@session_asset(_RECORDS)
def alyx_fov_records(
    context: dg.AssetExecutionContext,
    platform: Platform,
    imaging_metadata: SessionMetadata,
    mean_image_mlapdv: LocatedFovs,
) -> Result:
    """Build the records of all fields of view, as they would be sent."""
    from meso_core.alyx import register_fov

    def compute(run: AssetRun) -> Product:
        records, staging = (
            register_fov(imaging_metadata.imaging, mean_image_mlapdv.locations, session=run.session.key),
            run.stage(),
        )
        staging.write(RECORDS, records.to_json().encode())
        return Product(
            staging,
            metadata={
                "imaging_stacks": len(records.stacks),
                "fields_of_view": len(records.fields_of_view),
                "locations": len(records.locations),
                "phantom": records.is_phantom,
                "records": dg.MetadataValue.md(f"```json\n{records.to_json()[:6000]}\n```"),
            },
        )

    return materialized(context, platform, _RECORDS, compute)
