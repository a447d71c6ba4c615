"""Whether a result is current: the one answer, wherever it is asked.

What belongs here: comparing what a manifest was made from with what there is now, and the files on disk with their
record. What an asset depends on is declared by the platform, which hands the basis in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from .basis import Basis, ChangedSetting
from .manifest import FIRST_WITH_BASIS, Manifest
from .present import PresentFiles


class Cause(Enum):
    """Why a result has to be made."""

    MISSING = "missing"
    #: An input is another one now.
    INPUTS = "inputs"
    #: A file is gone, or has another size.
    FILES = "files"
    #: A field of view failed, and the others were published without it.
    FOVS = "fovs"
    #: Code, settings or packages are others now, or the record is of an older form: nothing of the session changed.
    MAKING = "making"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a result stands: not made, current, or stale for a reason."""

    #: What the result depends on now.
    basis: Basis
    #: What was published; None where nothing was.
    manifest: Manifest | None
    #: A sentence per part of the basis that differs.
    differing: tuple[str, ...]
    #: A sentence per file that does not hold.
    broken: tuple[str, ...]
    causes: frozenset[Cause]
    #: What outside of the session has to come first, a sentence each; they speak against the result too.
    waits: tuple[str, ...] = ()
    #: Why the result did not go out of the session, a sentence each; it is current all the same.
    withheld: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """All that speaks against the result; empty where it is current."""
        return (*self.differing, *self.broken, *self.failed_fovs, *self.waits)

    @property
    def changed_settings(self) -> tuple[ChangedSetting, ...]:
        """Settings that are others now, where nothing else of what the result depends on differs."""
        made = self.manifest
        if made is None or made.version < FIRST_WITH_BASIS or made.basis == self.basis:
            return ()
        same_else = replace(made.basis, settings=self.basis.settings) == self.basis
        return made.basis.changed_settings(self.basis) if same_else else ()

    @property
    def failed_fovs(self) -> tuple[str, ...]:
        """A sentence for each field of view that failed when the others were published."""
        return () if self.manifest is None else self.manifest.failed_fovs

    @property
    def lacks(self) -> tuple[str, ...]:
        """A sentence for each field of view that what it was made from lacks: no run of this result brings it."""
        if (made := self.manifest) is None:
            return ()
        others = sorted(fov for fov, one in made.missing.items() if one.asset != made.asset)
        return tuple(f"without {fov}, which {made.missing[fov].asset} lacks" for fov in others)

    def outside(self, waits: Sequence[str], withheld: Sequence[str]) -> Standing:
        """Return a copy with what is the case outside of the session.

        One that waits is not current. Nothing of the session changed, so that no run starts by itself for it.
        """
        causes = self.causes | ({Cause.MAKING} if waits else set())
        return replace(self, waits=tuple(waits), withheld=tuple(withheld), causes=causes)

    @property
    def is_current(self) -> bool:
        """Whether the stored basis equals the basis now, and the files hold."""
        return self.manifest is not None and not self.reasons


def standing(present: PresentFiles, manifest: Manifest | None, now: Basis, doubts: Sequence[str] = ()) -> Standing:
    """Compare a result with what it depends on now.

    Parameters
    ----------
    present
        The session's files: sizes and times of the published ones are compared, and the content of small ones whose
        time is another one.
    manifest
        What was published; None where nothing was.
    now
        What the result depends on now.
    doubts
        What else is wrong with the files of the result, a sentence each.
    """
    if manifest is None:
        return Standing(now, None, ("not made yet",), (), frozenset({Cause.MISSING}))
    files = (*present.broken(manifest), *doubts)
    if manifest.version < FIRST_WITH_BASIS:
        differing = _older_form(manifest.basis, now)
    else:
        differing = manifest.basis.differences(now)
    causes = set()
    if manifest.basis.inputs != now.inputs and manifest.version >= FIRST_WITH_BASIS:
        causes.add(Cause.INPUTS)
    if files:
        causes.add(Cause.FILES)
    if manifest.failed_here:
        causes.add(Cause.FOVS)
    if differing and _without_inputs(manifest.basis) != _without_inputs(now):
        causes.add(Cause.MAKING)
    return Standing(now, manifest, differing, files, frozenset(causes))


def _without_inputs(basis: Basis) -> tuple[object, ...]:
    record = basis.as_record()
    return record["code_version"], record["settings"], record["packages"]


def _older_form(before: Basis, now: Basis) -> tuple[str, ...]:
    """Say what the record of an earlier meso lacks; what it has is compared as ever."""
    lacking = sorted(set(now.inputs) - set(before.inputs))
    lacking += ["the settings that count"] if now.settings else []
    lacking += ["the packages that count"] if now.packages else []
    known = Basis(now.code_version, {name: v for name, v in now.inputs.items() if name in before.inputs})
    what = f"did not record {', '.join(lacking)}" if lacking else "kept another form of record"
    return (f"made by an earlier version of meso, which {what}", *before.differences(known))
