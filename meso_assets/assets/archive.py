"""Group archive: raw frames compressed and verified, reference images under their names."""

from __future__ import annotations

from typing import Any

from meso_core.session import imaging_bouts

from ..io_managers import Product
from ..metadata import archive_metadata
from ..resources import OpenSession
from ..suite2p_work import link
from .session_asset import platform_of, progress_of, session_asset, still_holds


@session_asset("imaging_frames_archive", io_manager="session_files", after=("raw_session",))
def imaging_frames_archive(session: OpenSession, context: Any) -> Product:
    """Compress the tifs of each bout, read the archive back, compare."""
    from meso_core.archive import ARCHIVE_NAME, compress_tifs, load_report, save_report

    bouts = imaging_bouts(session.path)
    if kept := still_holds(session, context):
        reports = [report for bout in bouts if (report := load_report(session.path, bout.name)) is not None]
        return Product(kept, metadata={"unchanged": True, **archive_metadata(reports)})
    staged = session.stage("imaging_frames_archive")
    reports = []
    for bout in bouts:
        target = staged / bout.name / ARCHIVE_NAME
        target.parent.mkdir(parents=True)
        if (bout / ARCHIVE_NAME).is_file():
            link(bout / ARCHIVE_NAME, target)
        reports.append(
            compress_tifs(bout, target, workers=platform_of(context).settings.cores, progress=progress_of(context))
        )

    def keep_reports() -> None:
        for report in reports:
            save_report(session.path, report)

    return Product(staged, metadata=archive_metadata(reports), then=keep_reports)


@session_asset("reference_images", io_manager="session_files", after=("raw_session",))
def reference_images(session: OpenSession, context: Any) -> Product:
    """Copy the reference image of each bout to its ALF names."""
    raise NotImplementedError  # replaced as soon as meso_core.archive.reference_images is there
