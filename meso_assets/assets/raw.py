"""Group raw: what the rig left, and its imaging metadata."""

import json
from typing import Any

import dagster as dg

from meso_core.session import IMAGING_META_FILE

from ..defs.catalogue import CATALOGUE
from ..defs.dagster_internals import observable_source
from ..defs.made_with import settings_of
from ..defs.partitions import known_sessions, session_partitions
from ..io.managers import Product
from ..io.metadata import imaging_metadata_metadata
from ..io.resources import CONSOLIDATED_METADATA, OpenSession
from .session_asset import PLATFORM, platform_of, session_asset

_RAW = CATALOGUE["raw_session"].options()


@observable_source(
    name=_RAW["name"],
    group_name=_RAW["group_name"],
    description=_RAW["description"],
    partitions_def=session_partitions,
    required_resource_keys={PLATFORM},
)
def raw_session(context: dg.OpExecutionContext) -> dg.DataVersionsByPartition:
    """Observe the listing of every known session that is still there."""
    platform = platform_of(context)
    present = {str(key) for key in platform.store.sessions()} & known_sessions(context.instance)
    return dg.DataVersionsByPartition({key: platform.session(key).raw_version() for key in sorted(present)})


@session_asset("imaging_metadata", io_manager="session_files", after=("raw_session",))
def imaging_metadata(session: OpenSession, context: Any) -> Product:
    """Use the rig's metadata, make what it did not deliver, and publish what holds for the session."""
    from meso_core.scanimage import load_meta_files, write_missing_meta

    settings = platform_of(context).settings
    ml, ap = settings.window_center_ml, settings.window_center_ap
    staged = session.stage("imaging_metadata")
    with session.as_delivered() as delivered:
        made = write_missing_meta(delivered, staged, center_ml=ml, center_ap=ap)
        meta, per_bout = load_meta_files(delivered, center_ml=ml, center_ap=ap)
    return Product(
        staged,
        texts={CONSOLIDATED_METADATA: json.dumps(meta, indent=1) + "\n"},
        # where the rig tells the window's centre, nothing depends on the settings
        settings=settings_of("imaging_metadata", settings) if any(p.name == IMAGING_META_FILE for p in made) else {},
        metadata=imaging_metadata_metadata(per_bout),
    )
