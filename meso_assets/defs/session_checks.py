"""Checks that span several assets of a session: all FOVs there, shapes agree, as many timestamps as frames.

What belongs here: reading what was published, and comparing. Verdicts of single steps come from ``meso_core``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import dagster as dg

from meso_core.datasets import DatasetValue
from meso_core.errors import DatasetError
from meso_core.qc import QCResult, Verdict, read_results
from meso_core.storage import Session

from ..io.published import FovDatasets, read_fovs, read_metadata, required
from ..io.resources import Platform
from .catalogue import CATALOGUE
from .checks import as_check_result, check_results, check_specs
from .dagster_internals import partitioned_check_spec

_FRAMES, _ROIS = CATALOGUE["motion_registered_frames"], CATALOGUE["rois"]
_ORIGIN = "meso_assets.defs.session_checks"


def fovs_present(fovs: Sequence[str], published: FovDatasets, left_out: Collection[str]) -> QCResult:
    """Ask whether each FOV of the metadata has ROIs, but those that are left out."""
    wanted = [fov for fov in fovs if fov not in left_out]
    missing = sorted({*wanted} - {*published})
    message = f"no ROIs of {', '.join(missing)}" if missing else f"ROIs of all {len(wanted)} fields of view"
    if left_out:
        message += f"; {', '.join(sorted(left_out))} left out"
    verdict = Verdict.FAIL if missing else Verdict.PASS
    return QCResult("all_fovs_present", verdict, len(published), len(wanted), message, _ORIGIN)


def shapes_agree(fov: str, datasets: Mapping[str, DatasetValue]) -> QCResult:
    """Ask whether all datasets of a FOV have the same frames, ROIs and pixels."""
    from meso_core.datasets import check_datasets

    try:
        check_datasets(fov, datasets)
    except DatasetError as error:
        return QCResult("shapes_agree", Verdict.FAIL, None, None, str(error), _ORIGIN, fov=fov)
    message = f"{fov}: {len(datasets)} datasets agree"
    return QCResult("shapes_agree", Verdict.PASS, len(datasets), None, message, _ORIGIN, fov=fov)


def _roi_results(session: Session) -> list[QCResult]:
    made = required(session, "rois")
    published = read_fovs(session, made)
    fovs = [fov.name for fov in read_metadata(session, required(session, "imaging_metadata")).imaging.fovs]
    return [
        fovs_present(fovs, published, made.basis.left_out),
        *(shapes_agree(fov, datasets) for fov, datasets in published.items()),
    ]


def _time_results(session: Session) -> list[QCResult]:
    from meso_core.report.judge.clock import frames_match_timestamps

    made = session.manifests()
    if not {"rois", "frame_times"} <= set(made):  # then the question is not asked yet
        return []
    rois, times = (read_fovs(session, made[asset]) for asset in ("rois", "frame_times"))
    return [
        frames_match_timestamps(fov, len(datasets["mpci.ROIActivityF"]), len(times[fov]["mpci.times"]))
        for fov, datasets in rois.items()
    ]


@dg.multi_asset_check(name="rois_are_whole", specs=check_specs(_ROIS))
def rois_are_whole(context: dg.AssetCheckExecutionContext, platform: Platform) -> Iterator[dg.AssetCheckResult]:
    """Check what ``rois`` published."""
    session = platform.session(context.partition_key, context.instance)
    session.hold()
    yield from check_results(
        _ROIS, [*read_results(session.path, "rois", platform.settings.limits), *_roi_results(session)]
    )


@dg.multi_asset_check(name="frames_are_registered", specs=check_specs(_FRAMES))
def frames_are_registered(context: dg.AssetCheckExecutionContext, platform: Platform) -> Iterator[dg.AssetCheckResult]:
    """Show the verdicts that ``motion_registered_frames`` published."""
    session = platform.session(context.partition_key, context.instance)
    session.hold()
    yield from check_results(_FRAMES, read_results(session.path, "motion_registered_frames", platform.settings.limits))


@dg.multi_asset_check(
    name="frames_have_times",
    specs=[
        partitioned_check_spec(
            "frames_match_timestamps",
            "frame_times",
            "Has each field of view as many timestamps as frames?",
            reads=("rois",),
        )
    ],
)
def frames_have_times(context: dg.AssetCheckExecutionContext, platform: Platform) -> Iterator[dg.AssetCheckResult]:
    """Compare ``frame_times`` with ``rois``."""
    session = platform.session(context.partition_key, context.instance)
    session.hold()
    yield as_check_result("frame_times", "frames_match_timestamps", _time_results(session))


session_checks = (frames_are_registered, rois_are_whole, frames_have_times)
