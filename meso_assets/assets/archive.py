"""Group archive: raw frames compressed and verified, reference images under their names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meso_core.session import imaging_bouts

from ..defs.made_with import settings_of
from ..io.managers import Product
from ..io.metadata import archive_metadata, reference_metadata
from ..io.resources import OpenSession
from .session_asset import platform_of, progress_of, session_asset, still_holds

if TYPE_CHECKING:
    from meso_core.archive import ReferenceImages

REFERENCE_RECORD = "reports/reference_images.json"


@session_asset("imaging_frames_archive", io_manager="session_files", after=("raw_session",))
def imaging_frames_archive(session: OpenSession, context: Any) -> Product:
    """Compress the tifs of each bout, read the archive back, compare."""
    from meso_core.archive import archive_bout, recorded_archives, save_report

    bouts, settings = imaging_bouts(session.path), platform_of(context).settings
    made_with = settings_of("imaging_frames_archive", settings)
    kept = still_holds(session, context, made_with)
    if kept and kept.contents:  # an early manifest did not list the tifs
        recorded = recorded_archives(session.path, {file.path: file.sha256 for file in kept.files})
        if recorded is not None:  # else a kill came between the archives and their records: verify again
            return Product(kept, metadata={"unchanged": True, **archive_metadata(list(recorded))})
    staged = session.stage("imaging_frames_archive")
    reports = [
        archive_bout(
            bout,
            staged / bout.name,
            archive_format=settings.archive_format,
            workers=settings.cores,
            progress=progress_of(context),
        )
        for bout in bouts
    ]

    def keep_records() -> None:
        for report in reports:
            save_report(session.path, report)

    return Product(
        staged,
        settings=made_with,
        contents={f"{report.bout}/{report.name}": report.contents for report in reports},
        metadata=archive_metadata(reports),
        then=keep_records,
    )


@session_asset("reference_images", io_manager="session_files", after=("raw_session", "imaging_metadata"))
def reference_images(session: OpenSession, context: Any) -> Product:
    """Bring the reference image of each bout under its ALF names; what the rig delivered so already stays as it is."""
    from meso_core.archive import reference_images as make

    staged, center = session.stage("reference_images"), session.metadata()["centerMM"]
    delivered = {file.path for file in session.raw_files()}
    with session.as_delivered() as rig:
        images = make(rig, staged, center_ml=center["ML"], center_ap=center["AP"])
    for path in delivered:
        (staged / path).unlink(missing_ok=True)
    return Product(staged, texts={REFERENCE_RECORD: reference_record(images)}, metadata=reference_metadata(images))


def reference_record(images: Sequence[ReferenceImages]) -> str:
    """Say in JSON which reference images the session has, and which of them were made here."""
    records = [
        {"bout": i.bout, "files": i.files, "source": i.source, "sha256": i.sha256, "made": i.made} for i in images
    ]
    return json.dumps(records, indent=1) + "\n"
