"""How a session stands, in few words: what `meso status`, the overview and the sensor need of one look.

What belongs here: summing up what ``standings`` judged, and the same as JSON values, for the index. What a look finds
is decided there; nothing is decided here.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from meso_core.errors import MesoError, MesoWarning
from meso_core.json_text import json_text
from meso_core.qc import Verdict, qc_path, read_results
from meso_core.review import decision
from meso_core.session import LEFT_OUT_FOVS, Arrival
from meso_core.storage import Basis, Cause, Manifest, Session, Standing

from ...runs.settings.settings import MesoSettings
from ..catalogue import CATALOGUE
from .quick import QUICK_ASSETS
from .standings import SessionView, look_at

#: Endings of what a browser shows.
SHOWN = (".png", ".html")
#: What is written of a verdict, of the first checks that did not pass.
_MOST_CHECKS = 3
#: The interpreter has one list of warnings for all threads; sensors look side by side.
_CATCHING = threading.Lock()


@dataclass(frozen=True, slots=True)
class AssetSummary:
    """How one asset of a session stands."""

    #: All that speaks against the result; none where it is current.
    reasons: tuple[str, ...] = ("not made yet",)
    #: Words of :class:`Cause`, sorted.
    causes: tuple[str, ...] = (Cause.MISSING.value,)
    is_made: bool = False
    #: Whether nothing but what is outside of the session speaks against it.
    only_waits: bool = False
    #: Whether nothing but fields of view that failed speaks against the result.
    is_partial: bool = False
    #: What is special about it although it is current.
    special: tuple[str, ...] = ()
    #: What a person edited in its files, and no run has taken over yet.
    edits: tuple[str, ...] = ()
    #: What the session lacks without which there is nothing to make; empty where it has it.
    lacks: str = ""
    #: Why the result did not go out of the session.
    withheld: tuple[str, ...] = ()
    #: When it was published, ISO 8601; empty where it was not.
    published_at: str = ""
    n_files: int = 0
    #: Bytes of its files.
    n_bytes: int = 0
    #: The run that made it.
    run_id: str = ""
    #: suite2p options that were given for that run alone, as text.
    options: str = ""
    #: Its figures and reports, by path below the session.
    shown: tuple[str, ...] = ()
    #: Worst of its verdicts (``PASS``, ``WARNING``, ``FAIL``); empty where there is none.
    verdict: str = ""
    #: What the checks say that did not pass.
    verdict_why: str = ""

    @property
    def is_current(self) -> bool:
        """Whether nothing speaks against the result."""
        return not self.reasons

    @classmethod
    def of(cls, found: Standing) -> AssetSummary:
        """Sum up how a result stands; its verdict is not looked at."""
        manifest = found.manifest
        return cls(
            reasons=found.reasons,
            causes=tuple(sorted(cause.value for cause in found.causes)),
            is_made=manifest is not None,
            only_waits=found.reasons == found.waits,
            is_partial=bool(found.failed_fovs) and found.reasons == found.failed_fovs,
            special=(*found.lacks, *(f"without {fov}, as {LEFT_OUT_FOVS} says" for fov in found.basis.left_out)),
            withheld=found.withheld,
            published_at=manifest.published_at if manifest else "",
            n_files=len(manifest.files) if manifest else 0,
            n_bytes=manifest.total_bytes if manifest else 0,
            run_id=manifest.made_by.run_id if manifest else "",
            options=_options(manifest),
            shown=tuple(file.path for file in manifest.files if _is_shown(file.path)) if manifest else (),
        )


@dataclass(frozen=True)
class SessionSummary:
    """How a session stands."""

    key: str
    ready: bool
    #: Why it is ready, or not.
    reason: str
    #: By name, in the order of the catalogue; one that is not in it was never made, and nothing else is to be said.
    assets: Mapping[str, AssetSummary] = field(default_factory=dict)
    #: Key of the run that the session asks for: once used it never runs again, so it carries the state of what is due.
    run_key: str = ""
    #: Key of the run of what is quick alone, before that one: it carries what quick assets are made from. What they
    #: make does not count, so that one that fails is not tried again for what came out of the others.
    quick_key: str = ""
    #: What is not as usual in its folder.
    remarks: tuple[str, ...] = ()
    #: Those of them that name a broken rule, which a person must mend.
    broken_rules: tuple[str, ...] = ()
    #: What a person says of it that is in force, in words; empty where nobody has said anything.
    said: str = ""
    #: Records that cannot be read.
    damaged: tuple[str, ...] = ()
    #: Bytes of what the rig left; of tifs that are in an archive too, as they were.
    raw_bytes: int = 0
    #: Whether time alone may change the answer.
    until_later: bool = False

    @cached_property
    def due(self) -> Mapping[str, AssetSummary]:
        """Assets that are not current; none where the rig has left nothing yet."""
        if not self.run_key:
            return {}
        if not self.assets:  # as most are on a disk of raw data
            return dict.fromkeys(CATALOGUE, _MISSING)
        all_assets = {name: self.asset(name) for name in CATALOGUE}
        return {name: one for name, one in all_assets.items() if not one.is_current}

    def asset(self, name: str) -> AssetSummary:
        """How an asset of the catalogue stands."""
        return self.assets.get(name, _MISSING)

    @property
    def runs_by_itself(self) -> bool:
        """Whether something of the session asks for a run: something is not made yet, or its files have changed.

        Results of older code, settings or packages wait until somebody asks for them, and so do fields of view that
        failed: with the same input they would fail again.
        """
        return any(set(one.causes) - {Cause.MAKING.value, Cause.FOVS.value} for one in self.due.values())

    @property
    def why(self) -> str:
        """What is due, in a sentence."""
        return "; ".join(f"{name}: {', '.join(one.reasons)}" for name, one in self.due.items())

    def as_record(self) -> dict[str, Any]:
        """Return JSON values; what is as it is by itself is left out, for a lab has very many sessions."""
        record = _without_defaults(self)
        record["assets"] = {name: _without_defaults(one) for name, one in self.assets.items()}
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SessionSummary:
        """Read what :meth:`as_record` gave."""
        assets = {name: AssetSummary(**_tuples(one)) for name, one in record["assets"].items()}
        return cls(**{**_tuples(record), "assets": assets})


_MISSING = AssetSummary()


@dataclass(frozen=True, slots=True)
class Looked:
    """One look at a session, and what it comes to."""

    seen: SessionView
    standings: Mapping[str, Standing]
    summary: SessionSummary


def summary_of(session: Session, settings: MesoSettings, *, now_ns: int) -> SessionSummary:
    """Look at a session and sum up what is found; parameters, and what is raised, as of :func:`looked_at`."""
    return looked_at(session, settings, now_ns=now_ns).summary


def looked_at(session: Session, settings: MesoSettings, *, now_ns: int) -> Looked:
    """Look at a session, and sum up what is found.

    Parameters
    ----------
    session
        Session.
    settings
        Settings of the platform.
    now_ns
        Time now, ns since 1970.

    Raises
    ------
    MesoError, OSError
        If the session cannot be looked at.
    """
    with _CATCHING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MesoWarning)
        seen = look_at(session)
        arrival, standings = seen.arrival(settings, now_ns=now_ns), seen.standings(settings)
    damaged = tuple(str(warning.message) for warning in caught if issubclass(warning.category, MesoWarning))
    return Looked(seen, standings, _summed_up(seen, settings, arrival, standings, damaged))


def _summed_up(
    seen: SessionView,
    settings: MesoSettings,
    arrival: Arrival,
    standings: Mapping[str, Standing],
    damaged: tuple[str, ...],
) -> SessionSummary:
    key = str(seen.session.key)
    summed_up = {
        name: replace(AssetSummary.of(found), lacks=_lacks(seen, name), edits=_edits(seen, name, found))
        for name, found in standings.items()
    }
    due = {name: found for name, found in standings.items() if not found.is_current}
    return SessionSummary(
        key=key,
        ready=arrival.ready,
        reason=arrival.reason,
        assets={
            name: _with_verdict(one, seen, name, settings) if one.is_made else one
            for name, one in summed_up.items()
            if one != _MISSING
        },
        run_key=_run_key(key, due) if seen.delivered else "",
        quick_key=_quick_key(key, standings) if seen.delivered else "",
        remarks=(*(edit for one in summed_up.values() for edit in one.edits), *seen.remarks()),
        broken_rules=seen.broken_rules(),
        said=_said(seen),
        damaged=damaged,
        raw_bytes=sum(max(0, file.size) for file in seen.delivered),
        until_later=arrival.until_later,
    )


def _edits(seen: SessionView, asset: str, found: Standing) -> tuple[str, ...]:
    edited = CATALOGUE[asset].edited
    if edited is None or found.manifest is None or not found.broken:
        return ()
    return tuple(edited(seen.session, seen.present, found.manifest))


def _said(seen: SessionView) -> str:
    """Say what a person says of the session, or that it cannot be read."""
    try:
        person = decision(seen.people.verdicts)
    except MesoError as error:
        return str(error)
    return "" if person is None else person.told


def _lacks(seen: SessionView, asset: str) -> str:
    kind = CATALOGUE[asset].about
    return f"the session has no files in a {kind.value} folder" if kind is not None and not seen.raw[kind].files else ""


def _run_key(key: str, due: Mapping[str, Standing]) -> str:
    return f"{key}:{_digest({name: standing.basis for name, standing in due.items()})}"


def _quick_key(key: str, standings: Mapping[str, Standing]) -> str:
    given = {n: one.basis.without_inputs(QUICK_ASSETS) for n, one in standings.items() if n in QUICK_ASSETS}
    return f"{key}:{_digest(given)}:quick"


def _digest(bases: Mapping[str, Basis]) -> str:
    state = "\n".join(f"{name} {basis.digest}" for name, basis in sorted(bases.items()))
    return hashlib.sha256(state.encode()).hexdigest()[:16]


def _is_shown(path: str) -> bool:
    return path.startswith("reports/") and path.endswith(SHOWN)


def _options(manifest: Manifest | None) -> str:
    options = manifest.made_by.options.get("suite2p", {}) if manifest else {}
    return ", ".join(f"{name} = {json_text(value)}" for name, value in sorted(options.items()))


def _with_verdict(one: AssetSummary, seen: SessionView, asset: str, settings: MesoSettings) -> AssetSummary:
    if qc_path(asset) not in seen.present.files:
        return one
    try:
        results = read_results(seen.session.fetch([qc_path(asset)]), asset, settings.limits)
    except MesoError as error:
        return replace(one, verdict=Verdict.WARNING.name, verdict_why=str(error))
    worst = max((result.verdict for result in results), default=None)
    if worst is None:
        return one
    told = [f"{r.check}{f' ({r.fov})' if r.fov else ''}: {r.message}" for r in results if r.verdict is not Verdict.PASS]
    more = [f"and {len(told) - _MOST_CHECKS} more"] if len(told) > _MOST_CHECKS else []
    return replace(one, verdict=worst.name, verdict_why="; ".join([*told[:_MOST_CHECKS], *more]))


def _without_defaults(value: AssetSummary | SessionSummary) -> dict[str, Any]:
    usual = type(value)() if isinstance(value, AssetSummary) else SessionSummary("", False, "")
    return {
        f.name: getattr(value, f.name)
        for f in fields(value)
        if f.name in ("key", "ready", "reason") or getattr(value, f.name) != getattr(usual, f.name)
    }


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
