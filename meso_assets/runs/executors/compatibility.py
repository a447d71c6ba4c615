"""Whether two machines that work on one session have the same code and the same atlas.

What belongs here: what the process that leads a run writes down of itself, and the comparison on the machine of a step.
"""

from __future__ import annotations

import json
import platform as this_python
import socket
from dataclasses import asdict, dataclass, field
from typing import Any

from meso_core.errors import EngineError
from meso_core.storage import code_version, package_versions

from ..instance.records import keeps_sqlite
from ..settings.settings import MesoSettings

_REMEDY = "Install the same on both, best one environment on the share for all machines; then run again"


@dataclass(frozen=True, slots=True)
class Sameness:
    """What has to be the same on every machine that works on a session."""

    host: str
    version: str
    commit: str
    packages: dict[str, str] = field(default_factory=dict)
    #: Hash of what the atlas is made of; empty where the machine has none yet.
    atlas: str = ""
    #: Whether the records of runs are files, which one machine alone may write.
    records_are_files: bool = True

    @classmethod
    def of_this_machine(cls, settings: MesoSettings) -> Sameness:
        """Tell what this machine has."""
        from meso_core.location.atlas.available import known_atlas

        code = code_version()
        packages = {"Python": this_python.python_version(), **package_versions()}
        packages.pop("meso", None)
        atlas = known_atlas(settings.location())
        files = keeps_sqlite(settings.dagster_home)
        return cls(socket.gethostname(), code.version, code.commit, packages, atlas, files)

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: str) -> Sameness:
        """Read what :meth:`as_record` gave, from JSON."""
        return cls(**json.loads(record))

    def refuse(self, here: Sameness) -> None:
        """Refuse a machine that would make other results than the one that leads the run.

        Parameters
        ----------
        here
            What the machine of the step has.

        Raises
        ------
        EngineError
            With both versions, or because both would write the same files of records.
        """
        differs = [
            f"{what} {theirs or 'none'} on {here.host} and {ours or 'none'} on {self.host}"
            for what, ours, theirs in self._compared(here)
            if ours != theirs
        ]
        if differs:
            expected = f"the same code and atlas as on {self.host}, which leads the run"
            raise EngineError.at(f"node {here.host}", expected=expected, found="; ".join(differs), remedy=_REMEDY)
        if self.records_are_files and here.host != self.host:
            raise EngineError.at(
                f"node {here.host}",
                expected="records of runs in a database that several machines may write",
                found=f"SQLite files, which {self.host} writes too",
                remedy="Keep them in PostgreSQL (MESO_POSTGRES, docs/records.md), or let jobs run on this machine only",
            )

    def _compared(self, here: Sameness) -> list[tuple[str, str, str]]:
        names = sorted({*self.packages, *here.packages})
        rows = [("meso", self.version, here.version)]
        rows += [(name, self.packages.get(name, ""), here.packages.get(name, "")) for name in names]
        # told by git, which may not be on every machine; and an atlas that was not needed yet is fetched
        rows += [("commit", self.commit, here.commit)] if self.commit and here.commit else []
        return rows + ([("atlas", self.atlas, here.atlas)] if self.atlas and here.atlas else [])
