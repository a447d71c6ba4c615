"""What is known of an archive: its members, their hashes, and how it was verified.

What belongs here: the records, and keeping them with the session. ``tarball`` and ``zarr`` make them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..errors import ArchiveError, MissingInputError
from ..json_text import json_text
from ..opening import RECORD_BYTES, read_plain
from ..session import MESO_FOLDER
from ..storage import FileHash, PackedFile
from ..storage.files.atomic import write_file

ARCHIVE_NAME = "imaging.frames.tar.bz2"
ZARR_NAME = "imaging.frames.zarr"
RECORD_VERSION = 1
_DAMAGED = (
    "Archive the bout again if its tifs are there; if not, move this file away: meso restore then works without a "
    "comparison"
)


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """One raw tif, as it was read when it was archived and as it was found in the archive."""

    #: File name, relative to the bout's folder.
    name: str
    #: Bytes.
    size: int
    #: Time of the last change, ns since 1970.
    mtime_ns: int
    sha256: str
    md5: str
    #: Pages of the tif: one per channel and slice. 0 where the archive was verified without its tifs.
    n_pages: int

    @classmethod
    def from_fields(cls, fields: object) -> ArchiveMember:
        """Check and take what JSON says of a member. Early records call the pages frames.

        Raises
        ------
        ValueError
            If a field is missing, unknown, or not of its kind.
        """
        if isinstance(fields, dict) and "n_frames" in fields:
            fields = {"n_pages" if name == "n_frames" else name: value for name, value in fields.items()}
        if not isinstance(fields, dict) or set(fields) != set(cls.__slots__):
            raise ValueError(f"a member with other fields than {', '.join(cls.__slots__)}")
        for name, kind in (("name", str), ("size", int), ("mtime_ns", int), ("sha256", str), ("md5", str)):
            if type(fields[name]) is not kind:
                raise ValueError(f"a member whose {name} is {fields[name]!r}")
        member = cls(**fields)
        if type(member.n_pages) is not int or not 0 <= member.n_pages <= member.size:
            raise ValueError(f"{member.name!r} with {member.size!r} bytes and {member.n_pages!r} pages")
        if not -(1 << 63) <= member.mtime_ns < 1 << 63 or member.size >= 1 << 63:
            raise ValueError(f"{member.name!r} with time {member.mtime_ns} and {member.size} bytes")
        if not re.fullmatch("[0-9a-f]{64}", member.sha256) or not re.fullmatch("[0-9a-f]{32}", member.md5):
            raise ValueError(f"{member.name!r} with hashes {member.sha256!r} and {member.md5!r}")
        return member


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """An archive whose content was read back and compared, member by member."""

    #: Name of the bout's folder.
    bout: str
    #: ``tar.bz2`` or ``zarr``.
    archive_format: str
    #: File (or folder) name of the archive.
    name: str
    members: tuple[ArchiveMember, ...]
    #: Bytes of the archive.
    size: int
    #: Hashes of the archive file; of a zarr folder, hashes of the list of its files and their hashes.
    sha256: str
    md5: str
    #: Wall time of compression and verification, s.
    seconds: float
    #: True where the archive was there before and was found to hold just these tifs.
    adopted: bool = False
    #: True where the members were compared with the tifs themselves, not only with an earlier record.
    compared_with_tifs: bool = True
    #: What a person should know: another format than the one asked for, pages that are missing. Usually empty.
    note: str = ""
    #: Of a zarr folder: path below it → size and hashes of each file. Not kept in the record.
    inside: Mapping[str, FileHash] = field(default_factory=dict, compare=False, repr=False)

    @property
    def contents(self) -> tuple[PackedFile, ...]:
        """The members, as the manifest of the published archive lists them."""
        return tuple(PackedFile(m.name, m.size, m.sha256, m.md5, m.n_pages) for m in self.members)

    @property
    def known_hashes(self) -> dict[str, FileHash]:
        """Size and hashes of each file of the archive, by its path below the session: publishing need not read them."""
        place = f"{self.bout}/{self.name}"
        if self.archive_format == "tar.bz2":
            return {place: FileHash(self.size, self.sha256, self.md5)}
        return {f"{place}/{path}": content for path, content in self.inside.items()}

    @property
    def raw_bytes(self) -> int:
        """Sum of the sizes of the tifs."""
        return sum(m.size for m in self.members)

    @property
    def ratio(self) -> float:
        """Size of the archive as a share of the tifs'."""
        return self.size / self.raw_bytes if self.raw_bytes else float("nan")

    @property
    def n_pages(self) -> int:
        """Pages of all tifs."""
        return sum(m.n_pages for m in self.members)

    def to_json(self) -> str:
        """Serialise, with sorted keys."""
        body = {"record_version": RECORD_VERSION, **asdict(replace(self, inside={}))}
        del body["inside"]
        return json_text(body, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> ArchiveReport:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        ArchiveError
            If the text is not such a record, or one of a newer version.
        """
        try:
            body = json.loads(text)
            version = body.pop("record_version")
            members = tuple(ArchiveMember.from_fields(m) for m in body.pop("members"))
            report = cls(**{**body, "members": members, "inside": {}})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArchiveError.at(
                where, expected="the record of an archive", found=repr(error), remedy=_DAMAGED
            ) from error
        if version != RECORD_VERSION:
            raise ArchiveError.at(
                where,
                field="record_version",
                expected=str(RECORD_VERSION),
                found=str(version),
                remedy=f"Use the version of meso that wrote it, or else {_DAMAGED[0].lower()}{_DAMAGED[1:]}",
            )
        return report


def record_path(session_path: Path, bout: str) -> Path:
    """Where the record of a bout's archive is kept."""
    return session_path / MESO_FOLDER / "archive" / f"{bout}.json"


def save_report(session_path: Path, report: ArchiveReport) -> Path:
    """Keep a verification with the session, atomically; call it after the archive was published.

    Raises
    ------
    ArchiveError
        If it would replace the record of a comparison with the tifs by one without.
    StorageError
        If there is no room or no right to write.
    """
    path = record_path(session_path, report.bout)
    try:
        before = load_report(session_path, report.bout)
    except ArchiveError:  # nothing to keep
        before = None
    if before is not None and before.compared_with_tifs and not report.compared_with_tifs:
        raise ArchiveError.at(
            path,
            expected="the record of a comparison with the tifs, as the one that is there",
            found=f"a record of {report.name} without such a comparison",
            remedy="Verify the archive against the members of the record that is there",
        )
    write_file(path, report.to_json().encode())
    return path


def load_report(session_path: Path, bout: str) -> ArchiveReport | None:
    """Read the recorded verification of a bout's archive, or None where there is none.

    Raises
    ------
    ArchiveError
        If the record is damaged or cannot be read.
    """
    path = record_path(session_path, bout)
    try:
        text = read_plain(path, RECORD_BYTES).decode()
    except MissingInputError:
        return None
    except ValueError as error:
        raise ArchiveError.at(path, expected="the record of an archive", found=str(error), remedy=_DAMAGED) from error
    return ArchiveReport.from_json(text, str(path))


def hash_of_listing(files: Mapping[str, str]) -> tuple[str, str]:
    """Return the sha-256 and md5 of a list of files: what identifies a folder.

    Parameters
    ----------
    files
        Path below the folder, with forward slashes → sha-256.
    """
    lines = (f"{path}\0{files[path]}\n" for path in sorted(files, key=PurePosixPath))
    text = "".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest(), hashlib.md5(text, usedforsecurity=False).hexdigest()
