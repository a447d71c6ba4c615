"""What the report of a session is made from, as typed values.

What belongs here: the types alone. What does not: where the values come from (the platform hands over what assets have
published), and what is measured in them (``measure``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets import DatasetValue
from ..opening import RandomFile
from ..qc import Limits, QCResult
from ..review import PersonVerdict
from ..session import SessionKey, SessionMetadata

if TYPE_CHECKING:
    from ..location import RegionMap, SessionLocations


@dataclass(frozen=True, slots=True)
class MadeResult:
    """One result that the report reads, or would read: how it stands, and what it was made with.

    Attributes
    ----------
    name
        Name of the asset.
    version
        Version of its content, a hash; empty where it was not made.
    why_not
        Why it could not be used; empty where it was.
    stale
        What it was made from that is other by now, a sentence each.
    code_version, settings, packages
        What it was made with.
    n_files, n_bytes
        How much it is.
    missing
        Folder name of a FOV → why the result has nothing of it.
    n_lost
        Files of it that are gone or changed since they were published.
    """

    name: str
    version: str = ""
    why_not: str = ""
    stale: Sequence[str] = ()
    code_version: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    n_files: int = 0
    n_bytes: int = 0
    missing: Mapping[str, str] = field(default_factory=dict)
    n_lost: int = 0


@dataclass(frozen=True, slots=True)
class FarMovie:
    """A registered movie on a server, which is read here and there."""

    #: Opens it.
    opened: Callable[[], AbstractContextManager[RandomFile]]
    n_bytes: int


@dataclass(frozen=True, slots=True)
class ReferenceFiles:
    """Reference stack of an imaging bout, and its metadata."""

    stack: Path
    metadata: Path


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """All that a report may show; what was not made is empty.

    Attributes
    ----------
    session
        Identity of the session.
    results
        How the results stand that the report reads, in the order in which they are made.
    metadata
        What the microscope says.
    datasets
        Folder name of a FOV → dataset → value, of all results.
    planes, detected
        Folder name of a FOV → folder with suite2p's files of its registration, and of its detection.
    movies, no_movies
        Folder name of a FOV → its registered movie; why there is none, as the end of a sentence.
    far_movies
        Folder name of a FOV → its registered movie, where it is on a server: a sample of its frames is read.
    references
        Imaging bout → its reference stack, where that one tells depths.
    second_movies
        Folder name of a FOV → its registered movie of the second channel; empty where there is one channel.
    raw_tifs, no_raw
        Imaging bout → its raw tifs, in their order; why they cannot be read, as the end of a sentence.
    kept_movies
        Folder name of a FOV → movie of an earlier report that was made of the same: it stands in where the tifs are
        gone.
    locations
        Where the fields of view lie.
    regions
        The brain from above.
    verdicts
        Result → verdicts on it.
    limits
        Limits of the lab, with which they were made.
    people
        What people said of the session, oldest first.
    default_settings
        Setting → its default, to tell which are others.
    """

    session: SessionKey
    results: Sequence[MadeResult] = ()
    metadata: SessionMetadata | None = None
    datasets: Mapping[str, Mapping[str, DatasetValue]] = field(default_factory=dict)
    planes: Mapping[str, Path] = field(default_factory=dict)
    detected: Mapping[str, Path] = field(default_factory=dict)
    movies: Mapping[str, Path] = field(default_factory=dict)
    no_movies: str = ""
    far_movies: Mapping[str, FarMovie] = field(default_factory=dict)
    references: Mapping[str, ReferenceFiles] = field(default_factory=dict)
    second_movies: Mapping[str, Path] = field(default_factory=dict)
    raw_tifs: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    no_raw: str = ""
    kept_movies: Mapping[str, Path] = field(default_factory=dict)
    locations: SessionLocations | None = None
    regions: RegionMap | None = None
    verdicts: Mapping[str, Sequence[QCResult]] = field(default_factory=dict)
    limits: Limits = field(default_factory=dict)
    people: Sequence[PersonVerdict] = ()
    default_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fov_names(self) -> tuple[str, ...]:
        """Folder names of the fields of view: those of the metadata, or else those that anything is there of."""
        if self.metadata is not None:
            return tuple(fov.name for fov in self.metadata.imaging.fovs)
        return tuple(sorted({*self.datasets, *self.planes}))

    def dataset(self, fov: str, name: str) -> Any:  # noqa: ANN401  an array, a table or masks
        """Return a dataset of a FOV, whatever its provenance suffix; None where it was not made."""
        values = self.datasets.get(fov, {})
        found = next((key for key in values if key == name or key.removeprefix(name).startswith("_")), None)
        return None if found is None else values[found]

    def why_missing(self, result: str, fov: str = "") -> str:
        """Say why a result is not there, or has nothing of a FOV, as the end of a sentence."""
        found = next((one for one in self.results if one.name == result), MadeResult(result))
        if found.why_not:
            return f"{result} {found.why_not}"
        return found.missing[fov].rstrip(".") if fov in found.missing else f"{result} has none"

    def all_verdicts(self) -> tuple[QCResult, ...]:
        """All verdicts, in the order in which results are made."""
        return tuple(verdict for verdicts in self.verdicts.values() for verdict in verdicts)

    def verdicts_on(self, *checks: str, fov: str | None = None) -> tuple[QCResult, ...]:
        """Verdicts of some checks; of one FOV where one is named."""
        return tuple(v for v in self.all_verdicts() if v.check in checks and (fov is None or v.fov == fov))
