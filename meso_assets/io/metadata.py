"""What a person reads about a result in the UI: counts, rates, durations, one small picture.

What belongs here: turning results of ``meso_core`` into Dagster metadata. Keys are stable: Dagster plots numeric ones
over sessions. Pictures are drawn by ``meso_core``; here they only become small.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from meso_core.errors import InputFileError
from meso_core.pictures import inline_picture, media_type
from meso_core.session import GONE
from meso_core.storage.manifests.manifest import manifest_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from meso_core.alyx import FovRegistration, OwnFiles, Registration
    from meso_core.archive import ArchiveReport
    from meso_core.imaging import DetectionResult, RegistrationResult
    from meso_core.location import SessionLocations
    from meso_core.report import Report
    from meso_core.review import Sayings
    from meso_core.scanimage.reference_images import ReferenceImages
    from meso_core.session import RawFiles, SessionMetadata
    from meso_core.storage import Manifest, Session
    from meso_core.timing import FrameQC, FrameTimes


#: Entry of a materialisation: digest of its manifest.
MANIFEST_DIGEST = "manifest_sha256"
#: Rows of a table, of about 250 bytes each: Dagster stores metadata several times per event.
MAX_ROWS = 40
#: Characters of a text that is shown in part.
_BEGINNING = 1500
#: Files of a row that is about many.
_FILES_NAMED = 3
_TIF_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("bout"),
        dg.TableColumn("tif"),
        dg.TableColumn("bytes", "int"),
        dg.TableColumn("pages", "int", "one per channel and slice"),
        dg.TableColumn("sha256"),
        dg.TableColumn("md5"),
    ]
)


def picture(shown: Figure | bytes, alt: str) -> dict[str, Any]:
    """Make a metadata entry of a figure or a picture, as large as fits in 8 kB."""
    small = inline_picture(shown)
    letters = base64.b64encode(small).decode()
    return {"picture": dg.MetadataValue.md(f"![{alt}](data:{media_type(small)};base64,{letters})")}


def table(head: str, rows: Iterable[str]) -> dg.MarkdownMetadataValue:
    """Make a metadata entry of a markdown table's head and rows."""
    return dg.MetadataValue.md("\n".join([head, "|" + " --- |" * (head.count("|") - 1), *rows]))


def lineage_metadata(session: Session, manifest: Manifest) -> dict[str, Any]:
    """Where the record of a result is, with its digest, code, inputs and hashes, and where to ask whether all holds."""
    inputs = [
        f"| {name} | `{version[:12]}` | `{manifest.chain.inputs.get(name, '–')[:12]}` |"
        for name, version in manifest.basis.inputs.items()
    ]
    hashes = [f"| {file.path} | {file.size} | `{file.sha256[:16]}` |" for file in manifest.files[:MAX_ROWS]]
    if len(manifest.files) > MAX_ROWS:
        hashes.append(f"| {len(manifest.files) - MAX_ROWS} more are in the manifest | | |")
    return {
        "manifest": dg.MetadataValue.path(session.where(manifest_path(manifest.asset))),
        MANIFEST_DIGEST: manifest.digest,
        "replaced_manifest": manifest.chain.previous or "none: it is the first",
        "code": str(manifest.made_by.code),
        "inputs": table("| input | version | manifest |", inputs),
        "hashes": table("| file | bytes | sha-256 |", hashes),
        "audit": dg.MetadataValue.asset(dg.AssetKey("lineage_audit")),
    }


def missing_metadata(manifest: Manifest) -> dict[str, Any]:
    """Which fields of view failed, in which asset, and why; nothing where none did."""
    rows = [f"| {fov} | {one.asset} | {one.why} |" for fov, one in sorted(manifest.missing.items())]
    return {"fields_missing": table("| FOV | failed in | why |", rows)} if rows else {}


def raw_metadata(files: RawFiles) -> dict[str, Any]:
    """How many raw files of a kind there are, in which bouts, how large, and how old the newest is."""
    newest = max((file.mtime_ns for file in files.files), default=0)
    return {
        "files": len(files.files),
        "gb": round(sum(file.size for file in files.files if file.size != GONE) / 1e9, 6),
        "bouts": ", ".join(bout.name for bout in files.bouts) or "none",
        "newest": datetime.fromtimestamp(newest / 1e9, UTC).isoformat(timespec="seconds") if newest else "none",
    }


def people_metadata(people: Sayings) -> dict[str, Any]:
    """Tell what people said of a session, newest first; or why it cannot be read."""
    try:
        told = [f"- {one.told}" for one in reversed(people.verdicts)]
    except InputFileError as error:
        told = [f"- {error}"]
    return {"said": dg.MetadataValue.md("\n".join(told[:MAX_ROWS]) or "nobody has said anything")}


def reference_metadata(images: Sequence[ReferenceImages]) -> dict[str, Any]:
    """Which reference images there are, and the picture of the first."""
    rows = [f"| {i.bout} | {i.source} | {' × '.join(map(str, i.shape))} | {', '.join(i.made) or '–'} |" for i in images]
    return {
        "bouts": len(images),
        "by_bout": table("| bout | from | depths × rows × columns | made here |", rows),
        **picture(images[0].picture, "reference image, brightest value over the depths"),
    }


def imaging_metadata_metadata(metadata: SessionMetadata) -> dict[str, Any]:
    """Geometry and rates, from the metadata of all bouts."""
    imaging = metadata.imaging
    used = imaging.channels_used
    rows = [
        f"| {fov.name} | {fov.slice_index} | {', '.join(map(str, (fov.channel,) if fov.channel else used))} | "
        f"{fov.ny} × {fov.nx} | {_depths(fov.depths_um)} |"
        for fov in imaging.fovs
    ]
    return {
        "fovs": len(imaging.fovs),
        "bouts": len(metadata.bouts),
        "volume_rate_hz": imaging.volume_rate_hz,
        "fov_rate_hz": imaging.fov_rate_hz,
        "frames_averaged": imaging.stack.frames_averaged,
        "channels_unused": ", ".join(map(str, imaging.channels_unused)) or "none",
        "pages": sum(bout.imaging.n_pages for bout in metadata.bouts),
        "centerMM.ML": imaging.window.ml_mm,
        "centerMM.AP": imaging.window.ap_mm,
        "fields_of_view": table("| FOV | slice | channel | rows × columns | depth (µm) |", rows),
    }


def _depths(depths_um: tuple[float, ...] | None) -> str:
    return ", ".join(f"{z:g}" for z in depths_um) if depths_um else "–"


def frame_qc_metadata(quality: FrameQC) -> dict[str, Any]:
    """How many frames carry which label."""
    rows = [f"| {label} | {int((quality.values == value).sum())} |" for value, label in enumerate(quality.labels)]
    return {
        "frames": int(quality.values.size),
        "flagged_frames": int((quality.values != 0).sum()),
        "bad_frames": int(quality.bad_frames.sum()),
        "labels": table("| label | frames |", rows),
    }


def frame_times_metadata(times: FrameTimes) -> dict[str, Any]:
    """Tell counts, rate and steadiness of the frame clock."""
    first = times.times[0]
    intervals = np.diff(first)
    regular = intervals[intervals < 1.5 * np.median(intervals)]  # no gap; the median is a whole number of DAQ samples
    return {
        "frames_per_fov": int(first.size),
        "frame_rate_hz": round(float(1 / regular.mean()), 4) if intervals.size else 0.0,
        "minutes": round(float(first[-1] - first[0]) / 60, 3) if first.size else 0.0,
        "bouts": len(times.bouts),
        "surplus_pulses": int(sum(bout.n_surplus for bout in times.bouts)),
    }


def registration_metadata(by_name: Mapping[str, RegistrationResult]) -> dict[str, Any]:
    """How much the brain moved, and how well that was taken out."""
    fovs = list(by_name.values())
    shifts = [np.hypot(fov.yoff, fov.xoff) for fov in fovs]
    rows = [
        f"| {name} | {fov.n_frames} | {np.median(shift):.1f} | {shift.max():.1f} | {int(fov.bad_frames.sum())} | "
        f"{_left_px(fov.reg_metrics_avg)} | {_left_px(fov.reg_metrics_max)} |"
        for (name, fov), shift in zip(by_name.items(), shifts, strict=True)
    ]
    head = (
        "| FOV | frames | median shift (px) | largest shift (px) | bad frames | mean regDX (px) | largest regDX (px) |"
    )
    return {
        "fovs": len(fovs),
        "frames_per_fov": fovs[0].n_frames,
        "largest_shift_px": round(float(max(shift.max() for shift in shifts)), 2),
        "bad_frames": int(sum(int(fov.bad_frames.sum()) for fov in fovs)),
        "by_fov": table(head, rows),
    }


def _left_px(reg_dx: np.ndarray | None) -> str:
    """Rigid motion that is left in the movie's principal components; short movies have none measured."""
    return "–" if reg_dx is None else f"{reg_dx[0]:.2f}"


def rois_metadata(by_name: Mapping[str, DetectionResult]) -> dict[str, Any]:
    """How many cells were found where."""
    fovs = list(by_name.values())
    rows = [f"| {n} | {f.n_rois} | {f.n_cells} | {'yes' if f.curated else 'no'} |" for n, f in by_name.items()]
    return {
        "fovs": len(fovs),
        "rois": sum(fov.n_rois for fov in fovs),
        "cells": sum(fov.n_cells for fov in fovs),
        "by_fov": table("| FOV | ROIs | cells | curated |", rows),
    }


def archive_metadata(reports: list[ArchiveReport]) -> dict[str, Any]:
    """Tell what went into the archives, and what came out: in all, by bout, by tif."""
    raw = sum(report.raw_bytes for report in reports)
    rows = [
        f"| {r.bout} | {r.name} | {len(r.members)} | {r.raw_bytes / 1e6:.1f} | {r.size / 1e6:.1f} | "
        f"{'adopted, ' if r.adopted else ''}verified{f' ({r.note})' if r.note else ''} |"
        for r in reports
    ]
    return {
        "bouts": len(reports),
        "tifs": sum(len(report.members) for report in reports),
        "pages": sum(report.n_pages for report in reports),
        "raw_mb": round(raw / 1e6, 3),
        "share_of_raw": round(sum(report.size for report in reports) / raw, 4) if raw else 0.0,
        "by_bout": table("| bout | archive | tifs | raw (MB) | archive (MB) | content |", rows),
        **_by_tif(reports),
    }


def _by_tif(reports: list[ArchiveReport]) -> dict[str, Any]:
    """Table with a row a tif; of many tifs the first, and where the others stand."""
    tifs = [(report.bout, member) for report in reports for member in report.members]
    rows = [
        dg.TableRecord(
            {
                "bout": bout,
                "tif": tif.name.encode("utf-8", "backslashreplace").decode(),  # a name need not be UTF-8
                "bytes": tif.size,
                "pages": tif.n_pages,
                "sha256": tif.sha256,
                "md5": tif.md5,
            }
        )
        for bout, tif in tifs[:MAX_ROWS]
    ]
    if not rows:
        return {}
    shown = {"by_tif": dg.MetadataValue.table(rows, _TIF_COLUMNS)}
    if len(tifs) <= MAX_ROWS:
        return shown
    others = (
        f"{len(tifs) - MAX_ROWS} of {len(tifs)} tifs are not in the table. All of them, with the same columns, stand "
        "in `.meso/manifests/imaging_frames_archive.json` below the session, under `contents`."
    )
    return {**shown, "tifs_not_shown": dg.MetadataValue.md(others)}


def _region_names() -> dict[int, str]:
    """Acronym of each region of the Allen atlas, by its id."""
    from iblatlas.regions import BrainRegions

    regions = BrainRegions()
    return {int(number): str(name) for number, name in zip(regions.id, regions.acronym, strict=True)}


def located_metadata(locations: SessionLocations) -> dict[str, Any]:
    """Centres of the fields of view, and with which atlas they were found."""
    names = _region_names()
    rows = [
        f"| {fov.fov} | {fov.center_um[0]:.0f} | {fov.center_um[1]:.0f} | {fov.center_um[2]:.0f} | "
        f"{names.get(fov.center_id, '–')} | {fov.center_id} | {fov.fraction_outside:.1%} |"
        for fov in locations.fovs
    ]
    return {
        "provenance": locations.provenance.name,
        "atlas": locations.atlas.name + (" (a made-up brain: no anatomy)" if locations.phantom else ""),
        "fovs": len(locations.fovs),
        "centres": table("| FOV | ML (µm) | AP (µm) | DV (µm) | region | its id | outside the brain |", rows),
    }


def roi_locations_metadata(fovs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """How many cells lie in which region."""
    from collections import Counter

    regions: Counter[int] = Counter()
    for datasets in fovs.values():
        (ids,) = (np.asarray(value) for name, value in datasets.items() if "brainLocationIds" in name)
        regions.update(int(region) for region in ids)
    names = _region_names()
    rows = [f"| {names.get(region, '–')} | {region} | {count} |" for region, count in regions.most_common(20)]
    return {
        "rois": sum(regions.values()),
        "rois_off_the_brain": regions.get(0, 0),
        "regions": table("| region | its id | ROIs |", rows),
    }


def figures_metadata(captions: Mapping[str, str]) -> dict[str, Any]:
    """List the figures that are published as files, each with a line on how to read it."""
    lines = [f"- `reports/figures/{name}.png`: {caption}" for name, caption in captions.items()]
    return {"figures": dg.MetadataValue.md("\n".join(lines))}


def fov_record_metadata(records: FovRegistration) -> dict[str, Any]:
    """How many records of fields of view there are, and the records."""
    return {
        "imaging_stacks": len(records.stacks),
        "fields_of_view": len(records.fields_of_view),
        "locations": len(records.locations),
        "phantom": records.is_phantom,
        "records": dg.MetadataValue.md(_beginning(records.to_json(), "alyx/fov_records.json")),
    }


def _beginning(text: str, file: str) -> str:
    """Show the beginning of a JSON text, and say in which file all of it is."""
    more = "" if len(text) <= _BEGINNING else f"\n\n{len(text) - _BEGINNING:,} more characters are in `{file}`."
    return f"```json\n{text[:_BEGINNING]}\n```{more}"


def dataset_metadata(own: OwnFiles) -> dict[str, Any]:
    """How many files are datasets, and why others are not; each file stands in ``alyx/datasets.json``."""
    by_reason: dict[str, list[str]] = {}
    for path, why in sorted(own.left_out.items()):
        by_reason.setdefault(why, []).append(path)
    rows = [
        f"| {', '.join(paths[:_FILES_NAMED])}{', …' if len(paths) > _FILES_NAMED else ''} | {len(paths)} | {why} |"
        for why, paths in by_reason.items()
    ]
    return {
        "datasets": len(own.files),
        "left_out": len(own.left_out),
        "why_left_out": table("| files | how many | why |", rows[:MAX_ROWS]),
    }


def sent_metadata(registration: Registration) -> dict[str, Any]:
    """Tell what became of telling Alyx: state, what was done or would be, and the records with their links."""
    sent = [one for one in registration.sent if one.id]
    rows = [
        f"| {one.kind.value} | {one.name} | {one.action.value} | "
        + (f"[`{one.id}`]({one.link}) |" if one.link else f"`{one.id}` |")
        for one in sent
    ]
    if not rows:  # a dry run
        work = [one for plan in registration.plans for one in plan.work]
        rows = [f"| {one.kind.value} | {one.name} | {one.action.value} | – |" for one in work]
    shown: dict[str, Any] = {
        "alyx": registration.state.value,
        "alyx_summary": registration.summary,
        "alyx_records": len(sent),
        "alyx_session": ", ".join(sorted({one.eid for one in registration.outcomes if one.eid})),
    }
    if registration.remarks:
        shown["alyx_remarks"] = dg.MetadataValue.md("\n".join(f"- {remark}" for remark in registration.remarks))
    if rows:
        shown["alyx_ids"] = table("| kind | record | action | id |", rows[:MAX_ROWS])
    return shown


def report_metadata(report: Report, where: str) -> dict[str, Any]:
    """Where the page is, how large, and the verdict of the session in words."""
    return {
        "page": dg.MetadataValue.path(where),
        "page_mb": round(len(report.html) / 1e6, 3),
        "verdict": report.verdict,
    }
