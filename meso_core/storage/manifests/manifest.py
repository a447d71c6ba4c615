"""The commit record of an asset: which files it made, and from what.

What belongs here: the record, its JSON in this form and in earlier ones. Reading and writing it on disk is in
``publishing``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from ...errors import StorageError
from ...json_text import json_text
from ...session import MESO_FOLDER
from ..files.hashing import FileHash
from .basis import Basis
from .code_version import CodeVersion
from .records import FieldError, read_record

MANIFEST_VERSION = 4
#: The first form whose basis is whole; what an older one says of its inputs cannot be compared.
FIRST_WITH_BASIS = 2
#: What a person does with a damaged record; running sets it aside, and keeps it.
RUN_AGAIN = "Run the asset again"


def manifest_path(asset: str) -> str:
    """Path below the session of the record that counts for an asset."""
    return f"{MESO_FOLDER}/manifests/{asset}.json"


def replaced_path(asset: str, digest: str) -> str:
    """Path below the session of a record that was replaced."""
    return f"{MESO_FOLDER}/manifests/history/{asset}/{digest}.json"


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
        path = self.path
        if path in ("", ".") or path.startswith("/") or ".." in path.split("/") or "\0" in path:
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


@dataclass(frozen=True, slots=True)
class MissingFov:
    """Why a result has nothing of a field of view."""

    #: Asset that failed for it: this one, or one that it was made from.
    asset: str
    #: What was wrong, and what a person does.
    why: str


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Which run made a result; nothing of it decides whether the result is current."""

    run_id: str
    #: Package → version, of all that take part.
    packages: Mapping[str, str] = field(default_factory=dict)
    #: Options that were given for this run alone, as JSON values.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Name of the machine; empty where it was not recorded.
    host: str = ""
    code: CodeVersion = field(default_factory=CodeVersion)


@dataclass(frozen=True, slots=True)
class Chain:
    """Digests of other manifests, so that a history that somebody edits shows."""

    #: SHA-256 of the file of the manifest that this one replaced; empty for the first.
    previous: str = ""
    #: Asset → SHA-256 of the file of the manifest that was the input.
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
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
    #: Key of the session in its store; empty where it was not recorded.
    session: str = ""
    #: Name → number or text that sums up the result, as shown in the interface.
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    chain: Chain = field(default_factory=Chain)
    #: Field of view, as ``FOV_02`` → why the result has nothing of it.
    missing: Mapping[str, MissingFov] = field(default_factory=dict)
    #: SHA-256 of the file of the record, as ``sha256sum`` prints it.
    digest: str = field(default="", compare=False)

    @cached_property
    def data_version(self) -> str:
        """Hash of the list of files and their contents: equal files, equal version, whoever made them when."""
        return content_version(self.files)

    @property
    def failed_here(self) -> dict[str, str]:
        """Fields of view that this asset itself failed for → why; a run again makes them alone."""
        return {fov: one.why for fov, one in sorted(self.missing.items()) if one.asset == self.asset}

    @property
    def failed_fovs(self) -> tuple[str, ...]:
        """A sentence for each field of view that this asset itself failed for."""
        return tuple(f"{fov} missing: {why}" for fov, why in self.failed_here.items())

    @property
    def total_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(f.size for f in self.files)

    def to_json(self) -> str:
        """Serialise, with sorted keys."""
        body = _Body(
            MANIFEST_VERSION,
            self.session,
            self.asset,
            self.data_version,
            self.basis,
            self.basis.digest,
            self.made_by,
            self.published_at,
            self.files,
            self.contents,
            self.facts,
            self.chain,
            self.missing,
        )
        return json_text(asdict(body), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Read what :meth:`to_json` wrote, in this version of meso or an earlier one.

        Raises
        ------
        StorageError
            If the text is not a manifest, or is one of a newer meso, or its own hashes do not fit.
        """
        body, version = _read_body(text, where)
        manifest = cls(
            body.asset,
            body.files,
            body.basis,
            body.made_by,
            body.published_at,
            body.contents,
            version,
            body.session,
            body.facts,
            body.chain,
            body.missing,
            record_digest(text),
        )
        for name, found in {"data_version": manifest.data_version, "basis_digest": manifest.basis.digest}.items():
            if (recorded := getattr(body, name)) != found:
                raise StorageError.at(
                    where,
                    field=name,
                    expected=found,
                    found=str(recorded),
                    remedy=f"The file was edited or damaged. {RUN_AGAIN}",
                )
        return manifest

    @classmethod
    def of_asset(cls, text: str, where: str, asset: str) -> Manifest:
        """Read as :meth:`from_json`, and insist that it is the record of this asset."""
        manifest = cls.from_json(text, where)
        if manifest.asset != asset:
            found = f"one of {manifest.asset!r}"
            raise StorageError.at(where, expected="the manifest of its asset", found=found, remedy=RUN_AGAIN)
        return manifest


@dataclass(frozen=True, slots=True)
class _Body:
    """The record as it is in the file."""

    #: Form of the record.
    manifest_version: int
    #: Key of the session in its store; empty where it was not recorded.
    session: str
    #: Name of the asset.
    asset: str
    #: SHA-256 of the list of files and their contents.
    data_version: str
    #: What the content depends on: a result is current while this is what it was.
    basis: Basis
    #: SHA-256 of the basis.
    basis_digest: str
    #: Which run made the result, where, with which code; nothing of it decides whether the result is current.
    made_by: MadeBy
    #: ISO 8601, UTC.
    published_at: str
    #: The published files, sorted by path.
    files: tuple[FileRecord, ...]
    #: Archive (by its path below the session) → the files in it.
    contents: Mapping[str, tuple[PackedFile, ...]]
    #: Name → number or text that sums up the result.
    facts: Mapping[str, str | int | float | bool]
    #: Digests of other manifests: that which was replaced, and those of the inputs.
    chain: Chain
    #: Field of view that failed → why the result has nothing of it.
    missing: Mapping[str, MissingFov]


def record_digest(text: str) -> str:
    """SHA-256 of the file of a manifest."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def content_version(files: Iterable[FileRecord]) -> str:
    """Hash of a list of files and their contents: the data version of a result."""
    lines = "".join(f"{f.path}\0{f.sha256}\n" for f in sorted(files, key=lambda f: f.path))
    return hashlib.sha256(lines.encode()).hexdigest()


def _read_body(text: str, where: str) -> tuple[_Body, int]:
    """Read the text of a manifest of any form; returns it in the present one, and in which it was."""
    again = f"The file was edited or damaged. {RUN_AGAIN}"
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StorageError.at(where, expected="a manifest", found=str(error), remedy=again) from error
    version = body.get("manifest_version") if isinstance(body, dict) else None
    if type(version) is not int or version < 1:
        found = f"manifest_version {version!r}" if isinstance(body, dict) else type(body).__name__
        raise StorageError.at(where, expected="a manifest", found=found, remedy=again)
    if version > MANIFEST_VERSION:
        raise StorageError.at(
            where,
            field="manifest_version",
            expected=f"at most {MANIFEST_VERSION}",
            found=str(version),
            remedy="Read this session with the version of meso that wrote it",
        )
    try:
        for older in range(version, MANIFEST_VERSION):
            body = _UPGRADES[older](body)
        return read_record(_Body, body), version
    except FieldError as error:
        name = ".".join(error.path) or None
        raise StorageError.at(where, field=name, expected=error.expected, found=error.found, remedy=again) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StorageError.at(
            where, expected=f"a manifest of form {version}", found=repr(error), remedy=again
        ) from error


def _from_first_form(body: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a manifest up that knew the raw session as a whole only, and no packages that count.

    Early ones call the pages of a tif frames, or list no contents.
    """
    made = body["provenance"]
    inputs = {name: version for name, version in made["inputs"].items() if name != "raw_session"}
    basis = Basis(str(made["code_version"]), inputs)
    contents = {
        path: [{"n_pages" if name == "n_frames" else name: value for name, value in one.items()} for one in packed]
        for path, packed in body.get("contents", {}).items()
    }
    return {
        **{name: value for name, value in body.items() if name != "provenance"},
        "files": [{"mtime_ns": 0, **file} for file in body["files"]],
        "contents": contents,
        "basis": basis.as_record(),
        "basis_digest": basis.digest,
        "made_by": {"run_id": made["run_id"], "packages": made["packages"], "options": {}},
    }


def _from_second_form(body: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a manifest up that knew neither its session nor other manifests, and of the code the packages only."""
    return {
        **body,
        "session": "",
        "facts": {},
        "chain": asdict(Chain()),
        "made_by": {"host": "", "code": asdict(CodeVersion()), **body["made_by"]},
    }


def _from_third_form(body: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a manifest up that was published with all fields of view or not at all."""
    return {**body, "missing": {}}


#: Form of the record → how it becomes the next one.
_UPGRADES: Mapping[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    1: _from_first_form,
    2: _from_second_form,
    3: _from_third_form,
}
