"""The commit record of an asset: which files it made, and from what.

What belongs here: the record and its JSON. Reading and writing it on disk is in ``publishing``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ..errors import StorageError, brief
from ..json_text import json_text
from .basis import Basis
from .hashing import FileHash

MANIFEST_VERSION = 2
#: What a person does with a damaged record; running sets it aside, and keeps it.
RUN_AGAIN = "Run the asset again"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One published file."""

    #: Path below the session, with forward slashes.
    path: str
    #: Bytes.
    size: int
    sha256: str
    md5: str
    #: Time of the last change when it was published, ns since 1970; 0 where it was not recorded. Not compared alone.
    mtime_ns: int = 0

    @property
    def content(self) -> FileHash:
        """Size and hashes."""
        return FileHash(self.size, self.sha256, self.md5)

    def __post_init__(self) -> None:
        _check_types(self, path=str, size=int, sha256=str, md5=str, mtime_ns=int)
        pure = PurePosixPath(self.path)
        if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in self.path:
            raise StorageError.at(
                "manifest",
                field="path",
                expected="a path below the session",
                found=repr(self.path),
                remedy="Do not use this manifest; run the asset again",
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
    n_pages: int

    def __post_init__(self) -> None:
        _check_types(self, name=str, size=int, sha256=str, md5=str, n_pages=int)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> PackedFile:
        """Take what JSON says of a file. Early manifests call the pages frames."""
        return cls(**{"n_pages" if name == "n_frames" else name: value for name, value in fields.items()})


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Which run made a result; nothing of it decides whether the result is current."""

    run_id: str
    #: Package → version, of all that take part.
    packages: Mapping[str, str] = field(default_factory=dict)
    #: Options that were given for this run alone, as JSON values.
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_types(self, run_id=str, packages=Mapping, options=Mapping)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one asset published in one session; written last, it makes the files count."""

    asset: str
    files: tuple[FileRecord, ...]
    #: What the content depends on.
    basis: Basis
    made_by: MadeBy
    #: ISO 8601, UTC.
    published_at: str
    #: Archive (a file, or a folder of files, by its path below the session) → what it holds. It follows from the
    #: content of the files, so the data version does not repeat it.
    contents: Mapping[str, tuple[PackedFile, ...]] = field(default_factory=dict)
    #: Form of the record; older ones lack parts of the basis.
    version: int = MANIFEST_VERSION

    @property
    def data_version(self) -> str:
        """Hash of the list of files and their contents: equal files, equal version, whoever made them when."""
        return content_version(self.files)

    @property
    def total_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(f.size for f in self.files)

    def to_json(self) -> str:
        """Serialise, with sorted keys."""
        body = {
            "manifest_version": MANIFEST_VERSION,
            "asset": self.asset,
            "data_version": self.data_version,
            "basis": self.basis.as_record(),
            "basis_digest": self.basis.digest,
            "made_by": asdict(self.made_by),
            "published_at": self.published_at,
            "files": [asdict(file) for file in self.files],
            "contents": {path: [asdict(packed) for packed in content] for path, content in self.contents.items()},
        }
        return json_text(body, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Read what :meth:`to_json` wrote, in this version of meso or an earlier one.

        Raises
        ------
        StorageError
            If the text is not a manifest, or is one of a newer meso, or its own hashes do not fit.
        """
        try:
            body = json.loads(text)
            version = body["manifest_version"]
            if version not in _READERS:
                raise StorageError.at(
                    where,
                    field="manifest_version",
                    expected=f"at most {MANIFEST_VERSION}",
                    found=str(version),
                    remedy="Read this session with the version of meso that wrote it",
                )
            basis, made_by = _READERS[version](body)
            manifest = cls(
                asset=body["asset"],
                files=tuple(FileRecord(**f) for f in body["files"]),
                basis=basis,
                made_by=made_by,
                published_at=body["published_at"],
                contents={
                    path: tuple(PackedFile.from_fields(packed) for packed in content)
                    for path, content in body.get("contents", {}).items()  # not in those of the first sessions
                },
                version=version,
            )
            recorded = {"data_version": body["data_version"], "basis_digest": body.get("basis_digest", basis.digest)}
            _check_types(manifest, asset=str, published_at=str)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StorageError.at(where, expected="a manifest", found=f"{error!r}", remedy=RUN_AGAIN) from error
        for field_name, found in {"data_version": manifest.data_version, "basis_digest": basis.digest}.items():
            if recorded[field_name] != found:
                raise StorageError.at(
                    where,
                    field=field_name,
                    expected=found,
                    found=str(recorded[field_name]),
                    remedy="The file was edited or damaged: run the asset again",
                )
        return manifest


def _check_types(record: object, **types: type) -> None:
    """Insist on the types of a record's fields, which JSON does not keep.

    Raises
    ------
    TypeError
        With the field that is something else.
    """
    for name, kind in types.items():
        value = getattr(record, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{name}: {brief(value)}")


def content_version(files: Iterable[FileRecord]) -> str:
    """Hash of a list of files and their contents: the data version of a result."""
    lines = "".join(f"{f.path}\0{f.sha256}\n" for f in sorted(files, key=lambda f: f.path))
    return hashlib.sha256(lines.encode()).hexdigest()


def _read_first_form(body: Mapping[str, Any]) -> tuple[Basis, MadeBy]:
    """Read a manifest that knew the raw session as a whole only, and no packages that count."""
    made = body["provenance"]
    inputs = {name: version for name, version in made["inputs"].items() if name != "raw_session"}
    return Basis(made["code_version"], inputs), MadeBy(made["run_id"], made["packages"])


def _read_form(body: Mapping[str, Any]) -> tuple[Basis, MadeBy]:
    return Basis.from_record(body["basis"]), MadeBy(**body["made_by"])


#: Form of the record → how its basis is read.
_READERS: Mapping[int, Callable[[Mapping[str, Any]], tuple[Basis, MadeBy]]] = {1: _read_first_form, 2: _read_form}


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
