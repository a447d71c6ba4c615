"""What the assets of group alyx share: as far as the setting goes, plan, send, and keep what the server answered.

What belongs here: the frame around a part of a session that Alyx is told. What is told, and how it is compared and
sent, is in ``meso_core.alyx``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meso_core.errors import AlyxUnavailableError
from meso_core.qc import QCResult, Verdict

from ..defs.alyx.gate import withheld_by_qc
from ..defs.declare import Declaration
from ..defs.guard import Context
from ..io.alyx import Alyx
from ..io.metadata import sent_metadata
from ..io.resources import Platform
from .session_asset import AssetRun, Kept, Product, Result, decided, tell_why

if TYPE_CHECKING:
    from meso_core.alyx import PlanMaker, Registration, Sent
    from meso_core.storage import Staging

_CHECK, _ORIGIN = "alyx_holds_it", "meso_core.alyx"


@dataclass(frozen=True, slots=True)
class Told:
    """One part of a session that Alyx is told."""

    #: Start of the names of its files.
    part: str
    #: The records as they would be sent, as JSON.
    records: str
    #: Make its plans from what the server holds.
    makers: Sequence[PlanMaker]
    #: Why all of it may not be sent; empty where it may.
    forbidden: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Adds files besides the records, given what the server answered; nothing where it was not asked.
    more: Callable[[Staging, Sequence[Sent]], None] | None = None


def told_to_alyx(
    context: Context, platform: Platform, alyx: Alyx, declaration: Declaration, prepare: Callable[[AssetRun], Told]
) -> Result:
    """Run an asset of group alyx.

    With Alyx off, nothing is done where an earlier result is current. Else the server is asked each time: what it
    holds may have changed. Where it holds everything, the earlier result stays.
    """

    def decide(run: AssetRun) -> Product | Kept:
        if run.is_current and alyx.is_off:
            return Kept()
        run.fetch_raw()
        told = prepare(run)
        registration = None if alyx.is_off else _asked(run, alyx, told)
        if run.is_current and registration is not None and _stays(registration):
            return Kept({"last_asked": registration.summary})
        if run.is_current and registration is not None:
            run.context.log.info(f"{declaration.name}: {_why_again(registration)}")
        else:
            tell_why(run)
        return _product(run, told, registration)

    return decided(context, platform, declaration, decide)


def _stays(registration: Registration) -> bool:
    """Whether an earlier, current result stays: the server holds all of it, or could not be asked now."""
    from meso_core.alyx import State

    return registration.did_nothing or (registration.state is State.PENDING and not registration.is_behind)


def _why_again(registration: Registration) -> str:
    """Say why what was told of a current result is told anew."""
    from meso_core.alyx import State

    if registration.state is State.WITHHELD:
        return "it may not be sent"
    if registration.state is State.PLANNED:
        return "the server was asked anew what would change"
    return "Alyx does not hold all of it any more"


def _asked(run: AssetRun, alyx: Alyx, told: Told) -> Registration:
    from meso_core.alyx import ended, pending, planned, registered, withheld

    if told.forbidden:
        return withheld(told.forbidden)
    made = run.standing.manifest.files if run.standing.manifest is not None else ()
    earlier = ended(run.session.path, [file for file in made if not run.seen.present.wrong_with(file)])
    try:
        client = alyx.connect()
        if alyx.is_online:
            found = registered(told.makers, client, run.session.path, earlier=earlier)
        else:
            found = planned(told.makers, client)
    except AlyxUnavailableError as error:
        found = pending(error, earlier)
    else:
        run.context.log.info(f"{client.n_requests} requests to {client.url}")
    run.context.log.info(f"{told.part}: {found.summary}")
    return found


def _product(run: AssetRun, told: Told, registration: Registration | None) -> Product:
    from meso_core.alyx import record_path, records_path

    staging = run.stage()
    staging.write(records_path(told.part), told.records.encode())
    if told.more is not None:
        told.more(staging, () if registration is None else registration.sent)
    if registration is None:
        return Product(staging, metadata={"alyx": "off: nothing is sent", **told.metadata})
    staging.write(record_path(told.part, registration.state), registration.to_json().encode())
    return Product(staging, qc=(_verdict(registration),), metadata={**told.metadata, **sent_metadata(registration)})


def _verdict(registration: Registration) -> QCResult:
    from meso_core.alyx import State

    message = "; ".join([registration.summary, *registration.remarks])
    is_there = registration.state is State.REGISTERED
    would = registration.state is State.PLANNED and all(plan.is_empty for plan in registration.plans)
    verdict = Verdict.PASS if (is_there or would) and not registration.remarks else Verdict.WARNING
    return QCResult(_CHECK, verdict, registration.state.value, "registered", message, _ORIGIN)


def forbidden_by_qc(run: AssetRun, assets: Sequence[str]) -> Mapping[str, str]:
    """Tell which assets may not be sent for stored verdicts; what a person has allowed is logged."""
    found = withheld_by_qc(run.session, assets, run.settings.limits)
    if found.allowed and found.override is not None:
        told = "; ".join(dict.fromkeys(found.allowed.values()))
        run.context.log.warning(f"sent although {told}: {found.override.who}, {found.override.why}")
    return found.why
