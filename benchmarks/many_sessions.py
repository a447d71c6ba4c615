"""Very many sessions with the records of all assets, as runs would have left them, and what Dagster would know of them.

One session is made as a template, and written again and again under other names: with the same times, so that the same
is current, and with records that name each other by their digests.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.lineage.auditing import KnownSession
from meso_assets.defs.standing.standings import look_at
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.archive.report import ARCHIVE_NAME, ArchiveMember, ArchiveReport
from meso_core.lineage import Materialization
from meso_core.session import SessionKey
from meso_core.storage import Chain, FileRecord, LocalStore, MadeBy, Manifest, Session

_BOUT, _TIME_NS = "raw_imaging_data_00", 1_700_000_000_000_000_000
_PACKAGES = {f"package_{i}": "1.2.3" for i in range(20)}
#: What the rig left.
RAW = (f"{_BOUT}/a.tif", f"{_BOUT}/_ibl_rawImagingData.meta.json", "raw_sync_data/x.npy")
#: Files that each asset publishes, bytes of each.
FILES_EACH, _CONTENT = 4, b"12345678"


class ManySessions:
    """Writes sessions below a folder."""

    def __init__(self, root: Path, settings: MesoSettings) -> None:
        self._root, self._settings = root, settings
        first = SessionKey.parse("TEMPLATE/2023-03-03/001")
        self._session = Session(first, first.folder(root / "template"), LocalStore(root / "template"))
        for path in RAW:
            _put(self._session.path / path, _CONTENT)
        self._texts: dict[str, str] = {}
        for name in CATALOGUE:
            self._texts[name] = self._make(name)
        self._files = {
            file.relative_to(self._session.path).as_posix(): file.read_bytes()
            for file in self._session.path.rglob("*")
            if file.is_file() and "manifests" not in file.parts
        }

    def _make(self, name: str) -> str:
        """Write the record of an asset, and its files."""
        paths = [f"alf/FOV_{i:02d}/{name}.npy" for i in range(FILES_EACH)]
        if name == "imaging_frames_archive":
            paths[0] = f"{_BOUT}/{ARCHIVE_NAME}"
            self._archive_record()
        for path in paths:
            _put(self._session.path / path, _CONTENT)
        files = tuple(FileRecord(path, len(_CONTENT), *_hashes(), _TIME_NS) for path in sorted(paths))
        seen = look_at(self._session)
        basis = CATALOGUE[name].basis(seen.raw, seen.made, self._settings, seen.people.version)
        chain = Chain("", {other: seen.made[other].digest for other in CATALOGUE[name].upstream})
        made_by = MadeBy("run", _PACKAGES, host="rig")
        manifest = Manifest(name, files, basis, made_by, "2026-01-01T00:00:00+00:00", session=str(self._session.key))
        text = replace(manifest, chain=chain).to_json()
        _put(self._session.path / ".meso" / "manifests" / f"{name}.json", text.encode())
        return text

    def _archive_record(self) -> None:
        member = ArchiveMember("a.tif", len(_CONTENT), _TIME_NS, *_hashes(), 1)
        report = ArchiveReport(_BOUT, "tar.bz2", ARCHIVE_NAME, (member,), len(_CONTENT), *_hashes(), 1.0)
        _put(self._session.path / ".meso" / "archive" / f"{_BOUT}.json", report.to_json().encode())

    def write_raw(self, numbers: range) -> None:
        """Write sessions of which nothing was made yet, a date for each hundred."""
        for number in numbers:
            year, day = divmod(number // 100, 300)
            month = f"{2000 + year}-{1 + day // 28:02d}-{1 + day % 28:02d}"
            folder = SessionKey.parse(f"RW{number % 100:03d}/{month}/001").folder(self._root)
            for path in RAW:
                _put(folder / path, _CONTENT)

    def write(self, n_sessions: int) -> Iterator[KnownSession]:
        """Write sessions, and tell what Dagster would know of each."""
        for number in range(n_sessions):
            key = SessionKey.parse(f"SP{number % 100:03d}/2023-03-03/{number // 100:03d}")
            folder = key.folder(self._root)
            for path, content in self._files.items():
                _put(folder / path, content)
            digests, events = {}, {}
            for name, template in self._texts.items():
                text = template.replace(str(self._session.key), str(key))
                for before, after in digests.items():
                    text = text.replace(before, after)
                digests[_sha(template)] = _sha(text)
                _put(folder / ".meso" / "manifests" / f"{name}.json", text.encode())
                events[name] = (Materialization("", 0.0, Manifest.from_json(template, name).data_version),)
            yield KnownSession(key, events, {})


def _put(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, ns=(_TIME_NS, _TIME_NS))


def _hashes() -> tuple[str, str]:
    return hashlib.sha256(_CONTENT).hexdigest(), hashlib.md5(_CONTENT, usedforsecurity=False).hexdigest()


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
