"""The commit record of an asset: which files it made, and from what.

What belongs here: the record and its JSON. Reading and writing it on disk is in ``publish``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ..errors import StorageError, problem

MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One published file."""

    #: Path below the session, with forward slashes.
    path: str
    #: Bytes.
    size: int
    sha256: str
    md5: str

    def __post_init__(self) -> None:
        pure = PurePosixPath(self.path)
        if pure.is_absolute() or ".." in pure.parts:
            raise StorageError(
                problem(
                    "manifest",
                    field="path",
                    expected="a path below the session",
                    found=repr(self.path),
                    remedy="Do not use this manifest; run the asset again",
                )
            )


@dataclass(frozen=True, slots=True)
class PackedFile:
    """One file as it lies inside a published one: a raw tif in an archive."""

    name: str
    #: Bytes.
    size: int
    sha256: str
    #: Empty where nobody computed it.
    md5: str
    #: Pages of a tif; 0 where they were not counted.
    n_frames: int


@dataclass(frozen=True, slots=True)
class RunProvenance:
    """How a result came about."""

    run_id: str
    #: Version of the code of the asset, raised when its meaning changes.
    code_version: str
    #: Package name → version.
    packages: Mapping[str, str] = field(default_factory=dict)
    #: Settings in force, as JSON values.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Input asset → its data version at the time of the run.
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one asset published in one session; written last, it makes the files count."""

    asset: str
    files: tuple[FileRecord, ...]
    provenance: RunProvenance
    #: ISO 8601, UTC.
    published_at: str
    #: Archive (a file, or a folder of files, by its path below the session) → what it holds. It follows from the
    #: content of the files, so the data version does not repeat it.
    contents: Mapping[str, tuple[PackedFile, ...]] = field(default_factory=dict)

    @property
    def data_version(self) -> str:
        """Hash of the list of files and their contents: equal files, equal version, whoever made them when."""
        lines = "".join(f"{f.path}\0{f.sha256}\n" for f in sorted(self.files, key=lambda f: f.path))
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def total_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(f.size for f in self.files)

    def to_json(self) -> str:
        """Serialise, with sorted keys."""
        body = {"manifest_version": MANIFEST_VERSION, "data_version": self.data_version, **asdict(self)}
        return json.dumps(body, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        StorageError
            If the text is not a manifest, or is one of a newer meso, or its own hash does not fit.
        """
        try:
            body = json.loads(text)
            if body["manifest_version"] != MANIFEST_VERSION:
                raise StorageError(
                    problem(
                        where,
                        field="manifest_version",
                        expected=str(MANIFEST_VERSION),
                        found=str(body["manifest_version"]),
                        remedy="Read this session with the version of meso that wrote it",
                    )
                )
            manifest = cls(
                asset=body["asset"],
                files=tuple(FileRecord(**f) for f in body["files"]),
                provenance=RunProvenance(**body["provenance"]),
                published_at=body["published_at"],
                contents={
                    path: tuple(PackedFile(**packed) for packed in content)
                    for path, content in body.get("contents", {}).items()  # not in those of the first sessions
                },
            )
            recorded = body["data_version"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                problem(where, expected="a manifest", found=f"{error!r}", remedy="Run the asset again")
            ) from error
        if recorded != manifest.data_version:
            raise StorageError(
                problem(
                    where,
                    field="data_version",
                    expected=manifest.data_version,
                    found=recorded,
                    remedy="The file was edited or damaged: run the asset again",
                )
            )
        return manifest


#: Packages whose version can change a result.
SCIENCE_PACKAGES = ("meso", "numpy", "scipy", "suite2p", "torch", "tifffile", "iblatlas", "ONE-api", "sparse")


def package_versions(names: tuple[str, ...] = SCIENCE_PACKAGES) -> dict[str, str]:
    """Versions of the installed packages among ``names``."""
    from importlib import metadata

    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
