"""Group archive: raw frames compressed and verified, reference images under their names."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from meso_core.archive.delivered import delivered_view
from meso_core.json_text import json_text
from meso_core.opening import is_there
from meso_core.progress import about
from meso_core.session import RawFiles, SessionMetadata, natural_key

from ..defs.catalogue import CATALOGUE
from ..io.metadata import archive_metadata, reference_metadata
from ..io.resources import Platform
from .before_work import tell_estimate
from .session_asset import AssetRun, Product, Result, materialized, session_asset

if TYPE_CHECKING:
    from meso_core.scanimage.reference_images import ReferenceImages

REFERENCE_RECORD = "reports/reference_images.json"
_ARCHIVE, _REFERENCE = CATALOGUE["imaging_frames_archive"], CATALOGUE["reference_images"]


@session_asset(_ARCHIVE)
def imaging_frames_archive(
    context: dg.AssetExecutionContext, platform: Platform, raw_frames: RawFiles, raw_metadata: RawFiles
) -> Result:
    """Compress the tifs of each bout, read the archive back, compare."""
    from meso_core.archive import archive_bout, given_times, report_with_own_times, save_report

    def compute(run: AssetRun) -> Product:
        shown = tell_estimate(run)
        # a bout that has metadata only is missing its frames: archiving it says so
        bouts = sorted({*raw_frames.bouts, *raw_metadata.bouts}, key=lambda bout: natural_key(bout.name))
        staging = run.stage()
        metadata = {f.path.split("/")[0]: f.path for f in raw_metadata.files if f.path.endswith(".meta.json")}

        def of_the_rig(bout: Path) -> Path | None:
            return raw_metadata.session_path / metadata[bout.name] if bout.name in metadata else None

        reports = [
            archive_bout(
                bout,
                staging.folder / bout.name,
                archive_format=run.settings.archive_format,
                workers=run.settings.cores,
                find_metadata=of_the_rig,
                progress=about(bout.name if len(bouts) > 1 else "", run.progress),
            )
            for bout in bouts
        ]
        for report in reports:
            staging.know(report.known_hashes)
            staging.leave({p: c for p, c in report.known_hashes.items() if not is_there(staging.folder / p)})

        def keep_records() -> None:
            with run.session.recording() as session_path:
                times = given_times(session_path)
                for report in reports:
                    save_report(session_path, report_with_own_times(report, times))

        contents = {f"{report.bout}/{report.name}": report.contents for report in reports}
        return Product(staging, contents=contents, metadata={**archive_metadata(reports), **shown}, then=keep_records)

    return materialized(context, platform, _ARCHIVE, compute)


@session_asset(_REFERENCE)
def reference_images(
    context: dg.AssetExecutionContext, platform: Platform, raw_reference: RawFiles, imaging_metadata: SessionMetadata
) -> Result:
    """Bring the reference image of each bout under its ALF names; what the rig delivered so already stays as it is."""
    from meso_core.scanimage.reference_checks import check_references
    from meso_core.scanimage.reference_images import reference_images as make

    def compute(run: AssetRun) -> Product:
        staging, window = run.stage(), imaging_metadata.imaging.window
        bouts = [bout.name for bout in imaging_metadata.bouts]
        with delivered_view(raw_reference) as rig:
            for bout in bouts:
                (rig / bout).mkdir(exist_ok=True)
            images = make(rig, staging.folder, center_ml=window.ml_mm, center_ap=window.ap_mm)
        for file in raw_reference.files:
            (staging.folder / file.path).unlink(missing_ok=True)
        staging.write(REFERENCE_RECORD, reference_record(images).encode())
        qc = check_references([(image.bout, image.taken_at) for image in images], imaging_metadata.bouts)
        return Product(staging, qc=qc, metadata=reference_metadata(images))

    return materialized(context, platform, _REFERENCE, compute)


def reference_record(images: "Sequence[ReferenceImages]") -> str:
    """Say in JSON which reference images the session has, and which of them were made here."""
    records = [
        {"bout": i.bout, "files": i.files, "source": i.source, "sha256": i.sha256, "made": i.made} for i in images
    ]
    return json_text(records, indent=1) + "\n"
