"""Group raw: the imaging metadata of a session, from what the rig left."""

import warnings
from typing import Any

import dagster as dg

from meso_core.archive.headers import headers_view
from meso_core.errors import MesoWarning
from meso_core.session import RawFiles

from ..defs.catalogue import CATALOGUE
from ..defs.standing.standings import look_at
from ..io.alyx import Alyx
from ..io.metadata import imaging_metadata_metadata
from ..io.published import BOUTS_FILE, SESSION_METADATA_FILE
from ..io.resources import Platform
from .session_asset import AssetRun, Product, Result, materialized, session_asset
from .subject import ask_alyx

_METADATA = CATALOGUE["imaging_metadata"]


@session_asset(_METADATA)
def imaging_metadata(
    context: dg.AssetExecutionContext, platform: Platform, alyx: Alyx, raw_frames: RawFiles, raw_metadata: RawFiles
) -> Result:
    """Use the rig's metadata, make what it did not deliver, and publish what holds for the session."""
    from meso_core.scanimage import check_frames, load_session_metadata, write_missing_meta

    def compute(run: AssetRun) -> Product:
        for remark in look_at(run.session).remarks():
            warnings.warn(f"{run.session.key}: {remark}", MesoWarning, stacklevel=2)
        staging, chosen = run.stage(), run.settings
        ml, ap = chosen.window_center_ml, chosen.window_center_ap
        with headers_view(run.session, run.seen.listing, raw_metadata, raw_frames) as rig:
            given: dict[str, Any] = {"center_ml": ml, "center_ap": ap, "channels": chosen.channels, "index": rig.index}
            write_missing_meta(rig.folder, staging.folder, **given)
            metadata = load_session_metadata(rig.folder, damaged_frames=chosen.damaged_frames, **given)
        staging.write(SESSION_METADATA_FILE, metadata.imaging.to_json().encode())
        staging.write(BOUTS_FILE, metadata.to_json().encode())
        return Product(staging, qc=check_frames(metadata), metadata=imaging_metadata_metadata(metadata))

    return materialized(context, platform, _METADATA, compute, lambda: ask_alyx(context, platform, alyx))
