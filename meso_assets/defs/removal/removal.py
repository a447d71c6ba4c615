"""The jobs that remove raw tifs: never part of another job, a dry run unless told otherwise.

What belongs here: asking the gate of ``meso_core.archive`` with the stored verdicts of a session, and telling Dagster
what was removed. The decision, and the only code that deletes raw data, are in ``meso_core.archive.gate``.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from meso_core.counting import counted
from meso_core.errors import MesoError
from meso_core.progress import Progress, silent, throttled
from meso_core.qc import DEFAULT_LIMITS, Limits
from meso_core.session import RawKind, SessionKey
from meso_core.storage import Session

from ...io.resources import Platform
from ..catalogue import MADE_OF_TIFS
from ..dagster_internals import observation
from ..declare import raw_asset
from ..guard import guarded
from ..partitions import session_partitions
from ..running.remote_claims import kept_away
from ..standing.standings import look_at
from .confirmation import confirmation, insist_on_confirmation

if TYPE_CHECKING:
    from meso_core.archive import KeptTif, RemovalEvent, RemovalPlan

_FRAMES, _ARCHIVE = "motion_registered_frames", "imaging_frames_archive"


class RemovalConfig(dg.Config):
    """Choices of one removal."""

    #: Only show what would be removed.
    dry_run: bool = True
    #: The word that a dry run told; only with it something is removed.
    confirm: str = ""
    #: Free the room at once, not after the days of the setting.
    now: bool = False
    #: Who overrides a verdict of quality control, and why; both are kept with every removed file.
    who: str = ""
    why: str = ""


def plan_removal(session: Session, who: str = "", why: str = "", *, limits: Limits = DEFAULT_LIMITS) -> "RemovalPlan":
    """Ask the gate which raw tifs of a session may be removed, by these limits of verdicts; nothing is changed."""
    from meso_core.archive import Override, raw_place, removal_plan

    override = Override(who, why) if who or why else None
    with raw_place(session) as place:
        return removal_plan(place, _FRAMES, archive_asset=_ARCHIVE, override=override, limits=limits)


def remove(session: Session, plan: "RemovalPlan", progress: Progress = silent) -> "tuple[RemovalEvent, ...]":
    """Move the tifs of a plan out of their bouts; runs are kept away by the caller."""
    from meso_core.archive import raw_place, remove_raw_tifs

    with raw_place(session, progress) as place:
        return remove_raw_tifs(plan, place=place, progress=progress)


def kept(session: Session) -> "tuple[KeptTif, ...]":
    """List the removed tifs of a session that are kept."""
    from meso_core.archive import raw_place

    with raw_place(session) as place:
        return place.kept()


def settle(session: Session) -> None:
    """Clear what a killed removal or restoring has left, if there is any and nobody is at it."""
    from meso_core.archive import raw_place, settle_if_needed

    with raw_place(session) as place:
        settle_if_needed(place)


def free(session: Session, kept_days: float, progress: Progress = silent) -> "tuple[KeptTif, ...]":
    """Free the room of removed tifs of a session that were kept for these days; runs are kept away by the caller."""
    from meso_core.archive import free_removed, raw_place

    with raw_place(session, progress) as place:
        return free_removed(place, _ARCHIVE, kept_days, progress=progress) if place.kept() else ()


def sweep(
    platform: Platform, keys: Iterable[SessionKey] | None = None
) -> "Iterator[tuple[SessionKey, tuple[KeptTif, ...] | MesoError]]":
    """Free the room of removed tifs of sessions whose time is over; of all, unless some are given.

    Yields
    ------
    key, freed
        The tifs that are gone, or the error of a session that keeps them; the others go on.
    """
    days = platform.settings.removed_kept_days
    for key in platform.store.sessions() if keys is None else keys:
        freed: tuple[KeptTif, ...] | MesoError = ()
        try:
            session = platform.at(key)
            if _is_due(session, days):
                # a run that goes on for long, maybe on another machine, must not keep the other sessions waiting
                with kept_away(session, MADE_OF_TIFS, "the freeing of removed tifs"):
                    freed = free(session, days)
        except MesoError as error:
            freed = error
        yield key, freed


def _is_due(session: Session, kept_days: float) -> bool:
    """Whether there are tifs whose time is over, or whose removal was interrupted."""
    now = datetime.now(UTC)
    return any(tif.event is None or not kept_days or tif.frees_at(kept_days) <= now for tif in kept(session))


@dg.op(
    name="raw_tifs_removed",
    out=dg.Out(dg.Nothing),
    description="Remove the raw tifs of a session whose archive holds just these files, if quality control allows it.",
)
def _raw_tifs_removed(context: dg.OpExecutionContext, platform: Platform, config: RemovalConfig) -> None:
    session, days = platform.session(context.partition_key, context.instance), platform.settings.removed_kept_days
    with guarded(context), _runs_kept_away(session, context) if not config.dry_run else nullcontext():
        if not config.dry_run:
            settle(session)
        plan = plan_removal(session, config.who, config.why, limits=platform.settings.limits)
        for obstacle in plan.obstacles:
            context.log.warning(f"{obstacle.where}: {obstacle.message}")
        asked = [(planned.path, planned.size) for planned in plan.removals]
        asked += [("now", 0)] if config.now else []
        word = confirmation(platform.settings.home, context.partition_key, asked)
        if config.dry_run:
            verb = "would be" if plan.allowed else "may not be"
            size, when = plan.freed_bytes / 1e9, "at once" if config.now else f"{days:g} days later"
            told = f"dry run: {counted(len(plan.removals), 'tif')} ({size:.2f} GB) {verb} removed; room is free {when}"
            context.log.info(f"{told}; confirm: {word}")
            return
        insist_on_confirmation(config.confirm, word, context.partition_key)
        progress = throttled(context.log.info, every_s=10.0)
        events = remove(session, plan, progress)
        if config.now:
            free(session, 0, progress)
    context.log_event(_observation(session, context.partition_key, events))


def _runs_kept_away(session: Session, context: dg.OpExecutionContext) -> AbstractContextManager[object]:
    return kept_away(session, MADE_OF_TIFS, remove_raw_tifs.name, context.log.info)


def _observation(session: Session, name: str, events: "tuple[RemovalEvent, ...]") -> dg.AssetObservation:
    """Record the removal with the raw frames, whose version it does not change."""
    rows = [f"| {e.path} | {e.size} | `{e.sha256}` | {e.archive} |" for e in events]
    table = "\n".join(["| tif | bytes | sha-256 | kept in |", "| --- | ---: | --- | --- |", *rows])
    overrides = {f"{e.override.who}: {e.override.why}" for e in events if e.override}
    seen = look_at(session).raw[RawKind.FRAMES]
    return observation(
        raw_asset(RawKind.FRAMES),
        name,
        seen.version,
        description=f"{len(events)} raw tifs removed; `meso restore` brings them back",
        metadata={"removed": dg.MetadataValue.md(table), "override": "; ".join(sorted(overrides)) or "none"},
    )


@dg.job(
    partitions_def=session_partitions,
    description="Remove the raw tifs of a session: dry run by default; only what a verified archive holds.",
)
def remove_raw_tifs() -> None:
    """Remove the raw tifs of one session."""
    _raw_tifs_removed()


@dg.op(
    name="removed_tifs_freed",
    out=dg.Out(dg.Nothing),
    description="Compare removed tifs that were kept for `MESO_REMOVED_KEPT_DAYS` with their archives, and free their "
    "room.",
)
def _removed_tifs_freed(context: dg.OpExecutionContext, platform: Platform) -> None:
    in_doubt = []
    for key, freed in sweep(platform):
        if isinstance(freed, MesoError):
            context.log.error(f"{key}: {freed}")
            in_doubt.append(f"{key}: {freed}")
        elif freed:
            context.log.info(
                f"{key}: {counted(len(freed), 'tif')}, {sum(tif.size for tif in freed) / 1e9:.2f} GB freed"
            )
    if in_doubt:
        raise dg.Failure("these keep their tifs: " + "; ".join(in_doubt), allow_retries=False)


@dg.job(description="Free the room of removed tifs of all sessions that were kept for `MESO_REMOVED_KEPT_DAYS`.")
def free_removed_tifs() -> None:
    """Free the room of removed tifs whose time is over."""
    _removed_tifs_freed()


#: Runs by itself: each of these tifs was removed because a person asked for it.
removed_tifs_daily = dg.ScheduleDefinition(
    name="removed_tifs_daily",
    job=free_removed_tifs,
    cron_schedule="30 4 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
