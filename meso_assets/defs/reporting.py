"""What the session report reads, gathered from what its declared inputs have published.

What belongs here: the way from manifests to the typed values of ``meso_core.report``. Inputs that were not made, or
whose files do not hold, are left out and named with the reason. What does not: measuring and drawing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from meso_core.datasets import DatasetValue
from meso_core.qc import QCResult, qc_path, read_results
from meso_core.session import GONE, RawKind, SessionMetadata, fov_name, is_tif, natural_key, plane_name
from meso_core.storage import Manifest, Session

from ..io.published import read_fovs, read_located, read_metadata
from ..runs.settings.settings import MesoSettings
from .catalogue import CATALOGUE
from .declare import Declaration, raw_asset
from .standing.standings import SessionView

if TYPE_CHECKING:
    from meso_core.location import RegionMap, SessionLocations
    from meso_core.report import FarMovie, MadeResult, ReferenceFiles, ReportInputs

#: Name of the asset that makes the report.
REPORT = "session_report"
#: Folder of the page and of what lies beside it; the page, and its line in the index over all sessions.
REPORTS = "reports"
REPORT_FILE, SUMMARY_FILE = f"{REPORTS}/session_report.html", f"{REPORTS}/session_report.json"
_MOVIE = re.compile(rf"{REPORTS}/session_movies/(FOV_\d+)\.webm")
#: Results from which a movie follows, besides the raw frames.
_SHOWN_IN_MOVIES = ("imaging_metadata", "frame_times", "motion_registered_frames")
#: Files of suite2p that the report reads, by the result that has them; the first is in each field's folder.
_OUTPUTS = {
    "motion_registered_frames": ("reg_outputs.npy",),
    "rois": ("detect_outputs.npy", "detect_settings.npy"),
}


def report_inputs(
    session: Session, seen: SessionView, declaration: Declaration, settings: MesoSettings
) -> ReportInputs:
    """Gather what the report of a session is made from.

    Parameters
    ----------
    session, seen
        The session, and what one look at it found.
    declaration
        That of the report: nothing but what its inputs published is read.
    settings
        Those that hold for the session.
    """
    from meso_core.report import ReportInputs

    results = [_result(seen, name) for name in declaration.upstream]
    used = {one.name: _that_hold(seen, seen.made[one.name]) for one in results if not one.why_not}
    locations = _locations(session, used.get("mean_image_mlapdv"))
    tifs, no_raw = _raw_tifs(session, seen)
    kept = kept_movies(session, seen) if no_raw and session.store.is_local else {}
    return ReportInputs(
        session.key,
        results,
        _metadata(session, used.get("imaging_metadata")),
        _datasets(session, used),
        _folders(session, used.get("motion_registered_frames")),
        _folders(session, used.get("rois")),
        _movies(session, used.get("motion_registered_frames")),
        "" if session.store.is_local else "the movies are on a server, and are not fetched for it",
        far_movies=_far_movies(session, seen, used.get("motion_registered_frames")),
        references=_references(session, used),
        second_movies=_movies(session, used.get("motion_registered_frames"), is_second=True),
        raw_tifs=tifs,
        no_raw=no_raw,
        kept_movies=kept,
        locations=locations,
        regions=_regions(locations, settings),
        verdicts={name: verdicts for name, made in used.items() if (verdicts := _verdicts(session, made, settings))},
        limits=settings.limits,
        people=seen.people.verdicts,
        default_settings=_defaults(declaration),
    )


def _result(seen: SessionView, name: str) -> MadeResult:
    from meso_core.report import MadeResult

    made = seen.made.get(name)
    if made is None:
        return MadeResult(name, why_not="was not made")
    lost = [file.path for file in made.files if seen.present.wrong_with(file)]
    why_not = "was made, but none of its files is there any more" if len(lost) == len(made.files) else ""
    basis = made.basis
    return MadeResult(
        name,
        made.data_version,
        why_not,
        [*_out_of_date(seen, made), *(seen.present.wrong_with(file) for file in made.files if file.path in lost)],
        basis.code_version,
        basis.settings,
        basis.packages,
        len(made.files),
        made.total_bytes,
        {fov: one.why for fov, one in made.missing.items()},
        len(lost),
    )


def _out_of_date(seen: SessionView, made: Manifest) -> list[str]:
    """Name the results that are others than those which a result was made from.

    Whether raw files or settings are others is asked of the session, by `meso status`: the report reads neither.
    """
    now = {name: seen.made[name].data_version for name in made.basis.inputs if name in seen.made}
    return [
        f"{name} has changed ({made.basis.inputs[name][:8]} → {version[:8]})"
        for name, version in now.items()
        if version != made.basis.inputs[name]
    ]


def _that_hold(seen: SessionView, made: Manifest) -> Manifest:
    """Leave out files that are not what was published: the standing names them."""
    return replace(made, files=tuple(file for file in made.files if not seen.present.wrong_with(file)))


def _metadata(session: Session, made: Manifest | None) -> SessionMetadata | None:
    return None if made is None else read_metadata(session, made)


def _locations(session: Session, made: Manifest | None) -> SessionLocations | None:
    return None if made is None else read_located(session, made).locations


def _regions(locations: SessionLocations | None, settings: MesoSettings) -> RegionMap | None:
    if locations is None:
        return None
    from meso_core.location import load_atlas, region_map

    return region_map(load_atlas(settings.location()), locations.frame)


def _datasets(session: Session, used: Mapping[str, Manifest]) -> dict[str, Mapping[str, DatasetValue]]:
    """Join the datasets of all results by FOV; each is read when it is asked for."""
    joined: dict[str, list[Manifest]] = {}
    for made in used.values():
        for fov in read_fovs(session, made):
            joined.setdefault(fov, []).append(made)
    return {
        fov: read_fovs(session, replace(made[0], files=tuple(file for one in made for file in one.files)))[fov]
        for fov, made in joined.items()
    }


def _folders(session: Session, made: Manifest | None) -> dict[str, Path]:
    """Folder of each FOV with the files that the report reads of suite2p's, fetched."""
    if made is None:
        return {}
    names = _OUTPUTS[made.asset]
    paths = [file.path for file in made.files if file.path.rpartition("/")[2] in names]
    root = session.fetch(paths)
    return {
        fov_name(number): root / "suite2p" / plane_name(number)
        for number in range(len(made.files))
        if f"suite2p/{plane_name(number)}/{names[0]}" in paths
    }


def _movies(session: Session, made: Manifest | None, *, is_second: bool = False) -> dict[str, Path]:
    """Movie of each FOV, of one channel; none of a server, for a movie is far larger than all else that is read."""
    from meso_core.imaging.fovs.plane import REGISTERED, REGISTERED_CHAN2

    if made is None or not session.store.is_local:
        return {}
    paths, name = {file.path for file in made.files}, REGISTERED_CHAN2 if is_second else REGISTERED
    named = {fov_name(n): f"suite2p/{plane_name(n)}/{name}" for n in range(len(paths))}
    return {fov: session.path / path for fov, path in named.items() if path in paths}


def _far_movies(session: Session, seen: SessionView, made: Manifest | None) -> dict[str, FarMovie]:
    """Movie of each FOV on a server: of it a few hundred frames are read."""
    from meso_core.imaging.fovs.plane import REGISTERED
    from meso_core.report import FarMovie

    if made is None or session.store.is_local:
        return {}
    named = {f"suite2p/{plane_name(n)}/{REGISTERED}": fov_name(n) for n in range(len(made.files))}
    listed = {file.path: file for file in seen.listing}
    movies = [listed[file.path] for file in made.files if file.path in named and file.path in listed]
    return {named[file.path]: FarMovie(partial(session.opened, file), file.size) for file in movies}


def _references(session: Session, used: Mapping[str, Manifest]) -> dict[str, ReferenceFiles]:
    """Find the reference stack of each bout that tells depths of a FOV; of a server, others are not fetched."""
    from meso_core.report import ReferenceFiles, tells_any_depth
    from meso_core.scanimage.reference_images import META_NAME, STACK_NAME

    metadata, made = _metadata(session, used.get("imaging_metadata")), used.get("reference_images")
    if metadata is None or made is None:
        return {}
    paths, found = {file.path for file in made.files}, {}
    for path in sorted(paths):
        bout, stack = path.split("/")[0], path.removesuffix(META_NAME) + STACK_NAME
        if not path.endswith(META_NAME) or stack not in paths:
            continue
        file = session.fetch([path]) / path
        if tells_any_depth(file, metadata.imaging.fovs):
            found[bout] = ReferenceFiles(session.fetch([stack]) / stack, file)
    return found


def _raw_tifs(session: Session, seen: SessionView) -> tuple[dict[str, list[Path]], str]:
    """Raw tifs of each bout; or why they cannot be read, as the end of a sentence."""
    tifs = [file.path for file in seen.raw[RawKind.FRAMES].files if is_tif(file.path)]
    there = {file.path for file in seen.listing if file.size != GONE}
    if not session.store.is_local:
        return {}, "the raw tifs are on a server, and are not fetched for it"
    if not tifs:
        return {}, "the session has no raw tifs; pages are not taken out of an archive for it"
    if gone := [path for path in tifs if path not in there]:
        return {}, (
            f"{len(gone)} of {len(tifs)} raw tifs are gone, their archive holds them; "
            f"`meso restore {session.key.full_name}` brings them back"
        )
    bouts: dict[str, list[Path]] = {}
    for path in sorted(tifs, key=natural_key):
        bouts.setdefault(path.split("/")[0], []).append(session.path / path)
    return bouts, ""


def kept_movies(session: Session, seen: SessionView) -> dict[str, Path]:
    """Movies of the report that is there, where all that they show is what it was made of."""
    made = seen.made.get(REPORT)
    if made is None:
        return {}
    now = {raw_asset(RawKind.FRAMES): seen.raw[RawKind.FRAMES].version}
    now |= {name: seen.made[name].data_version for name in _SHOWN_IN_MOVIES if name in seen.made}
    if any(made.basis.inputs.get(name) != now.get(name) for name in (raw_asset(RawKind.FRAMES), *_SHOWN_IN_MOVIES)):
        return {}
    hold = (file.path for file in made.files if not seen.present.wrong_with(file))
    return {match[1]: session.path / path for path in hold if (match := _MOVIE.fullmatch(path))}


def _verdicts(session: Session, made: Manifest, settings: MesoSettings) -> tuple[QCResult, ...]:
    path = qc_path(made.asset)
    if path not in {file.path for file in made.files}:
        return ()
    return read_results(session.fetch([path]), made.asset, settings.limits)


def _defaults(declaration: Declaration) -> dict[str, object]:
    """Default of each setting that decides the content of what the report reads."""
    return {name: value for one in declaration.upstream for name, value in CATALOGUE[one].default_settings.items()}
