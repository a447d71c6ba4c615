"""Before the expensive work: whether a session can be processed, asked of its files, this machine and earlier runs.

What belongs here: gathering what ``meso_core.imaging.preflight`` judges. It decides whether to begin, never what comes
out: so it may look at the DAQ's recording, which ``motion_registered_frames`` does not read.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from meso_core.archive.delivered import delivered_view, files_to_read
from meso_core.errors import MesoError, MesoWarning
from meso_core.qc import QCResult, Verdict
from meso_core.session import MESO_FOLDER, RawKind, SessionMetadata, daq_folder
from meso_core.storage.files.atomic import storage_errors

from ..io.published import read_metadata
from ..io.resources import Platform
from ..runs.settings.settings import MesoSettings
from .catalogue import CATALOGUE
from .running.past_runs import ARCHIVE, MOVIES, ROIS, past_steps
from .standing.standings import SessionView

if TYPE_CHECKING:
    from meso_core.imaging import Due, Finding, MachineFacts, Preflight

#: Tag of a run: what it was estimated to take.
ESTIMATE_TAG = "meso/estimate"
_METADATA, _TIMES = "imaging_metadata", "frame_times"
_ORIGIN = "meso_assets.defs.preflight"
#: Of a step that goes elsewhere: more than any can use; the engine knows how many its machines have.
_ANY_CORES = 1024


@dataclass(frozen=True, slots=True)
class Flight:
    """A session that is about to be processed."""

    platform: Platform
    instance: dg.DagsterInstance
    seen: SessionView
    #: Assets that are asked for.
    assets: Collection[str]
    #: suite2p options of the run alone.
    suite2p: Mapping[str, Any]

    @property
    def settings(self) -> MesoSettings:
        """The settings that hold for the session."""
        return self.seen.own_settings(self.platform.settings)

    def is_due(self, asset: str) -> bool:
        """Whether an asset is asked for and not current."""
        return asset in self.assets and (
            bool(self.suite2p and CATALOGUE[asset].stage)
            or not self.seen.standing(CATALOGUE[asset], self.platform.settings).is_current
        )


def look_ahead(flight: Flight, metadata: SessionMetadata | None = None, *, may_read: bool = True) -> Preflight:
    """Judge whether what is due of a session can be made, and estimate what that takes.

    Parameters
    ----------
    flight
        The session, and what is asked for.
    metadata
        Its imaging metadata, where the caller has them.
    may_read
        Whether they may be read from the tifs where they were not published yet; of a root on a server they are not.

    Returns
    -------
    Preflight
        Nothing that is wrong with the session is raised: the findings carry it.
    """
    from meso_core.imaging import judge_session

    due = {asset for asset in (ARCHIVE, MOVIES, ROIS) if flight.is_due(asset)}
    if due and flight.is_due(_TIMES):  # what is quick alone is tried, and tells itself
        due.add(_TIMES)
    others: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)  # the assets tell them
        if metadata is None and due - {ARCHIVE}:
            try:
                metadata = _metadata(flight, may_read=may_read)
            except MesoError as error:
                others.append(_failed("imaging_metadata_hold", error))
        if metadata is not None and _TIMES in due:
            others += _times(flight, metadata)
    return judge_session(
        flight.platform.name(flight.seen.session.key),
        _due(flight, due, metadata),
        _machine(flight),
        past_steps(flight.platform, flight.instance) if due - {_TIMES} else (),
        others,
    )


def _metadata(flight: Flight, *, may_read: bool) -> SessionMetadata | None:
    """Imaging metadata as they were published, or else from the rig's files; None where those are not to be read."""
    from meso_core.scanimage import load_session_metadata

    seen, settings = flight.seen, flight.settings
    made = seen.made.get(_METADATA)
    if made is not None and seen.standing(CATALOGUE[_METADATA], flight.platform.settings).is_current:
        return read_metadata(seen.session, made)
    if not may_read or not seen.session.store.is_local:
        return None
    with delivered_view(seen.raw[RawKind.METADATA], seen.raw[RawKind.FRAMES]) as delivered:
        return load_session_metadata(
            delivered,
            center_ml=settings.window_center_ml,
            center_ap=settings.window_center_ap,
            channels=settings.channels,
            damaged_frames=settings.damaged_frames,
        )


def _times(flight: Flight, metadata: SessionMetadata) -> list[Finding]:
    """Compare frames with the DAQ's pulses, as ``frame_times`` does; a session without a recording lacks its times."""
    from meso_core.imaging import Finding
    from meso_core.timing import find_frame_times

    seen, daq = flight.seen, flight.seen.raw[RawKind.DAQ]
    if not daq.files:
        told = "there is no recording of the DAQ: everything is made but frame_times"
        return [Finding(QCResult("frames_match_pulses", Verdict.WARNING, None, None, told, _ORIGIN))]
    try:
        seen.session.fetch(files_to_read(daq, seen.listing))
        found = find_frame_times(
            daq_folder(daq), metadata, session=seen.session.key, frame_channel=flight.settings.frame_channel
        )
    except MesoError as error:
        rest = ",".join(name for name in CATALOGUE if name in flight.assets and name != _TIMES)
        told = f"{error} To make what does not need the DAQ: meso run {seen.session.key} --assets {rest}"
        return [_failed("frames_match_pulses", type(error)(told) if rest else error)]
    return [Finding(result) for result in found.results]


def _failed(check: str, error: MesoError) -> Finding:
    from meso_core.imaging import Finding

    return Finding(QCResult(check, Verdict.FAIL, None, None, str(error), _ORIGIN), error)


def _due(flight: Flight, due: Collection[str], metadata: SessionMetadata | None) -> Due:
    from meso_core.imaging import Due, Step, Suite2pOverrides

    steps = {ARCHIVE: Step.ARCHIVE, MOVIES: Step.REGISTRATION, ROIS: Step.DETECTION}
    session = flight.seen.session
    raw = sum(file.size for file in flight.seen.raw[RawKind.FRAMES].files)
    ours = session.path / MESO_FOLDER
    begun = [*(ours / "work" / "suite2p").glob("plane*/*.bin")] if MOVIES in due else []
    begun += (ours / "staging" / ARCHIVE).rglob("*") if ARCHIVE in due else ()
    return Due(
        frozenset(step for name, step in steps.items() if name in due),
        raw,
        fetched_bytes=0 if session.store.is_local or not {ARCHIVE, MOVIES} & {*due} else raw,
        left_bytes=_size_of_unpublished(begun),
        metadata=metadata,
        overrides=flight.settings.overrides | Suite2pOverrides.parse(flight.suite2p),
        genotype=flight.settings.genotype,
        left_out=flight.settings.left_out_of(session.key),
        atlas_resolution_um=None if flight.settings.atlas == "phantom" else flight.settings.atlas_resolution_um,
    )


def _size_of_unpublished(files: Iterable[Path]) -> int:
    """Bytes of files that have one name: others are published too, and stay until others replace them."""
    found = [file.stat() for file in files if file.is_file()]
    return sum(one.st_size for one in found if one.st_nlink == 1)


def _machine(flight: Flight) -> MachineFacts:
    from meso_core.imaging import MachineFacts

    folder, settings = flight.seen.session.path, flight.settings
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if not flight.seen.session.store.is_local:
        free = min(free, int(settings.scratch_gb * 1e9))
    if settings.steps_go_elsewhere:  # each is given what it needs
        return MachineFacts(str(folder), free, None, settings.places, _ANY_CORES)
    return MachineFacts(str(folder), free, int(settings.memory_gb * 1e9), settings.places, settings.cores)
