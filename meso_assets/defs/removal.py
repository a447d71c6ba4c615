"""The job that removes raw tifs: never part of another job, a dry run unless told otherwise.

What belongs here: asking the gate of ``meso_core.archive`` with the stored verdicts of a session, and telling Dagster
what was removed. The decision, and the only code that deletes raw data, are in ``meso_core.archive.gate.removal``.
"""

from typing import TYPE_CHECKING

import dagster as dg

from meso_core.progress import throttled
from meso_core.session import RawKind
from meso_core.storage import Session

from ..io.resources import Platform
from .confirmation import confirmation, insist_on_confirmation
from .dagster_internals import observation
from .declare import raw_asset
from .guard import guarded
from .partitions import session_partitions
from .standings import look_at

if TYPE_CHECKING:
    from meso_core.archive import RemovalEvent, RemovalPlan


class RemovalConfig(dg.Config):
    """Choices of one removal."""

    #: Only show what would be removed.
    dry_run: bool = True
    #: The word that a dry run told; only with it something is removed.
    confirm: str = ""
    #: Who overrides a verdict of quality control, and why; both are kept with every removed file.
    who: str = ""
    why: str = ""


def plan_removal(session: Session, who: str = "", why: str = "") -> "RemovalPlan":
    """Ask the gate which raw tifs of a session may be removed; nothing is changed."""
    from meso_core.archive import Override, removal_plan

    override = Override(who, why) if who or why else None
    return removal_plan(session.path, "motion_registered_frames", override=override)


@dg.op(
    name="raw_tifs_removed",
    out=dg.Out(dg.Nothing),
    description="Remove the raw tifs of a session whose archive holds just these files, if quality control allows it.",
)
def _raw_tifs_removed(context: dg.OpExecutionContext, platform: Platform, config: RemovalConfig) -> None:
    from meso_core.archive import remove_raw_tifs as remove

    session = platform.session(context.partition_key)
    with guarded(context):
        plan = plan_removal(session, config.who, config.why)
        for obstacle in plan.obstacles:
            context.log.warning(f"{obstacle.where}: {obstacle.message}")
        asked = [(planned.path, planned.size) for planned in plan.removals]
        word = confirmation(platform.settings.home, context.partition_key, asked)
        if config.dry_run:
            verb = "would be" if plan.allowed else "may not be"
            size = plan.freed_bytes / 1e9
            context.log.info(f"dry run: {len(plan.removals)} tifs ({size:.2f} GB) {verb} removed; confirm: {word}")
            return
        insist_on_confirmation(config.confirm, word, context.partition_key)
        events = remove(plan, progress=throttled(context.log.info, every_s=10.0))
    context.log_event(_observation(session, events))


def _observation(session: Session, events: "tuple[RemovalEvent, ...]") -> dg.AssetObservation:
    """Record the removal with the raw frames, whose version it does not change."""
    rows = [f"| {e.path} | {e.size} | `{e.sha256}` | {e.archive} |" for e in events]
    table = "\n".join(["| tif | bytes | sha-256 | kept in |", "| --- | ---: | --- | --- |", *rows])
    overrides = {f"{e.override.who}: {e.override.why}" for e in events if e.override}
    seen = look_at(session).raw[RawKind.FRAMES]
    return observation(
        raw_asset(RawKind.FRAMES),
        str(session.key),
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
