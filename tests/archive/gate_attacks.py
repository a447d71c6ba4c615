"""Attacks on the removal of raw tifs: what a person, a rig, a disk or a forger does, and when.

Each action takes the scene and changes something on the disk. It says which contents are precious from then on: those
must be found afterwards, in a file below the session or in an archive that can be unpacked.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from archive_processed import ARCHIVE_ASSET

from meso_core.archive import ArchiveReport, load_report, open_frames
from meso_core.archive.report import record_path
from meso_core.errors import MesoError
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.storage import hash_file, load_manifest


def sha256(data: bytes) -> str:
    """Hash of a content."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Scene:
    """A session under attack."""

    session: Path
    #: Hashes of the contents that must not be lost.
    precious: set[str] = field(default_factory=set)
    #: Paths of the tifs, below the session.
    tifs: tuple[str, ...] = ()
    opened: list[object] = field(default_factory=list)

    @classmethod
    def of(cls, session: Path) -> Scene:
        """Begin: the content of each tif is precious."""
        tifs = [tif for bout in imaging_bouts(session) for tif in raw_tifs(bout)]
        paths = tuple(tif.relative_to(session).as_posix() for tif in tifs)
        return cls(session, {sha256(tif.read_bytes()) for tif in tifs}, paths)

    @property
    def place(self) -> Path:
        """Name of the first tif, as the rig knows it."""
        return self.session / self.tifs[0]

    @property
    def tif(self) -> Path | None:
        """The first tif, wherever it is now."""
        kept = self.session / ".meso" / "removed" / self.tifs[0]
        return next((path for path in (kept, self.place) if path.is_file()), None)

    @property
    def archive(self) -> Path:
        """Archive of its bout."""
        found = [path for path in self.place.parent.glob("imaging.frames.*") if not path.name.endswith(".away")]
        return found[0] if found else self.place.parent / "imaging.frames.tar.bz2"

    @property
    def packed(self) -> Path:
        """A file of the archive that holds pixels."""
        if self.archive.is_dir():
            return max((p for p in self.archive.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        return self.archive

    @property
    def report(self) -> ArchiveReport:
        """Record of the archive."""
        found = load_report(self.session, self.place.parent.name)
        assert found is not None
        return found

    def spoils_the_archive(self) -> None:
        """From now on only what is a file is precious: the attacker has destroyed the rest himself."""
        self.precious &= {sha256(p.read_bytes()) for p in self.session.rglob("*.tif") if p.is_file()}

    def write(self, path: Path, data: bytes) -> None:
        """Write something precious."""
        path.write_bytes(data)
        self.precious.add(sha256(data))

    def lost(self) -> set[str]:
        """Hashes of precious contents that are nowhere."""
        found = {hash_file(p).sha256 for p in self.session.rglob("*") if p.is_file() and not p.is_fifo()}
        for archive in self.session.glob("raw_imaging_data_*/imaging.frames.*"):
            if archive.is_fifo():
                continue
            with suppress(OSError, EOFError, tarfile.TarError, MesoError):
                found |= set(unpacked(archive))
        return self.precious - found


def unpacked(archive: Path) -> Iterator[str]:
    """Hashes of the members of an archive; a tar by other code than that of meso."""
    if archive.is_dir():
        frames = open_frames(archive)
        for index in range(len(frames.members)):
            yield sha256(b"".join(frames.tif_bytes(index)))
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            yield sha256(content.read())


def _in_place(path: Path, change: Callable[[bytearray], None]) -> None:
    """Change bytes of a file, and set its time back."""
    status, data = path.stat(), bytearray(path.read_bytes())
    change(data)
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 4


# --- the archive ---


def archive_is_garbage(scene: Scene) -> None:
    """Other bytes, as many, at the same time."""
    scene.spoils_the_archive()
    _in_place(scene.packed, lambda data: data.__setitem__(slice(None), os.urandom(len(data))))


def archive_has_a_flipped_bit(scene: Scene) -> None:
    scene.spoils_the_archive()
    _in_place(scene.packed, _flip)


def archive_is_cut(scene: Scene) -> None:
    scene.spoils_the_archive()
    os.truncate(scene.packed, scene.packed.stat().st_size // 2)


def archive_is_empty(scene: Scene) -> None:
    scene.spoils_the_archive()
    os.truncate(scene.packed, 0)


def archive_is_deleted(scene: Scene) -> None:
    scene.spoils_the_archive()
    shutil.rmtree(scene.archive) if scene.archive.is_dir() else scene.archive.unlink(missing_ok=True)


def archive_is_a_link_to_a_copy(scene: Scene) -> None:
    away = scene.archive.rename(scene.archive.with_name(scene.archive.name + ".away"))
    away.with_name(away.name.removesuffix(".away")).symlink_to(away.name)


def archive_is_a_pipe(scene: Scene) -> None:
    archive = scene.archive
    archive_is_deleted(scene)
    os.mkfifo(archive)


def archive_is_a_folder(scene: Scene) -> None:
    archive = scene.archive
    archive_is_deleted(scene)
    archive.mkdir()


def _other_archive(scene: Scene) -> bytes:
    """A whole tar.bz2 of tifs of these names and sizes, with other content."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w:bz2") as tar:
            for member in scene.report.members:
                info = tarfile.TarInfo(member.name)
                info.size = member.size
                with tempfile.TemporaryFile() as content:
                    content.write(sha256(member.name.encode()).encode() * (member.size // 64 + 1))
                    content.seek(0)
                    tar.addfile(info, content)
        file.seek(0)
        return file.read()


def archive_is_another_whole_one(scene: Scene) -> None:
    scene.spoils_the_archive()
    data, beside = _other_archive(scene), scene.session / "beside"
    beside.write_bytes(data)
    if scene.archive.is_dir():
        shutil.rmtree(scene.archive)
    beside.rename(scene.place.parent / "imaging.frames.tar.bz2")


def archive_is_replaced_by_the_same(scene: Scene) -> None:
    """A copy with its times, by a backup program that is restored: nothing is lost, whatever the gate says."""
    if scene.archive.is_file():
        copy = Path(shutil.copy2(scene.archive, scene.archive.with_name("copy")))
        copy.rename(scene.archive)


def archive_got_a_second_name(scene: Scene) -> None:
    os.link(scene.packed, scene.session / "second")


def archive_got_another_beside_it(scene: Scene) -> None:
    (scene.place.parent / "imaging.frames.zarr" / "c").mkdir(parents=True, exist_ok=True)
    (scene.place.parent / "imaging.frames.zarr" / "c" / "0").write_bytes(b"x")
    (scene.place.parent / "imaging.frames.tar.bz2").touch()


# --- forged records ---


def _forge(scene: Scene, *, record: bool, manifest: bool, whole: bool) -> None:
    """Put a worthless archive in place, and let the records say that it is the right one."""
    scene.spoils_the_archive()
    data = _other_archive(scene) if whole else os.urandom(5000)
    report = scene.report
    if scene.archive.is_dir():
        shutil.rmtree(scene.archive)
    place = scene.place.parent / "imaging.frames.tar.bz2"
    place.write_bytes(data)
    content, members = hash_file(place), report.members
    if whole:
        with tarfile.open(place) as tar:
            hashes = {m.name: sha256(tar.extractfile(m).read()) for m in tar}  # type: ignore[union-attr]
        members = tuple(replace(m, sha256=hashes[m.name]) for m in members)
    forged = replace(
        report, archive_format="tar.bz2", name=place.name, members=members, size=content.size, sha256=content.sha256
    )
    if record:
        record_path(scene.session, report.bout).write_text(forged.to_json())
    if manifest:
        path = scene.session / ".meso" / "manifests" / f"{ARCHIVE_ASSET}.json"
        made = load_manifest(scene.session, ARCHIVE_ASSET)
        assert made is not None
        where = place.relative_to(scene.session).as_posix()
        files = [f for f in made.files if not f.path.startswith(f"{report.bout}/")]
        files.append(replace(made.files[0], path=where, size=content.size, sha256=content.sha256, mtime_ns=0))
        contents = {**made.contents, where: forged.contents}
        path.write_text(replace(made, files=tuple(sorted(files, key=lambda f: f.path)), contents=contents).to_json())


def forged_record(scene: Scene) -> None:
    _forge(scene, record=True, manifest=False, whole=False)


def forged_manifest(scene: Scene) -> None:
    _forge(scene, record=False, manifest=True, whole=False)


def forged_record_and_manifest(scene: Scene) -> None:
    _forge(scene, record=True, manifest=True, whole=False)


def forged_record_of_a_whole_archive(scene: Scene) -> None:
    _forge(scene, record=True, manifest=False, whole=True)


def forged_record_and_manifest_of_a_whole_archive(scene: Scene) -> None:
    """All records agree with an archive of these names, sizes and times; only the pixels are others."""
    _forge(scene, record=True, manifest=True, whole=True)


def record_without_one_tif(scene: Scene) -> None:
    report = scene.report
    record_path(scene.session, report.bout).write_text(replace(report, members=report.members[1:]).to_json())


def record_with_hashes_of_nothing(scene: Scene) -> None:
    report = scene.report
    members = tuple(replace(m, sha256="0" * 64) for m in report.members)
    record_path(scene.session, report.bout).write_text(replace(report, members=members).to_json())


def record_is_gone(scene: Scene) -> None:
    record_path(scene.session, scene.place.parent.name).unlink(missing_ok=True)


def record_is_garbage(scene: Scene) -> None:
    record_path(scene.session, scene.place.parent.name).write_bytes(b"\xff{")


def manifest_is_gone(scene: Scene) -> None:
    (scene.session / ".meso" / "manifests" / f"{ARCHIVE_ASSET}.json").unlink(missing_ok=True)


def manifest_is_garbage(scene: Scene) -> None:
    (scene.session / ".meso" / "manifests" / f"{ARCHIVE_ASSET}.json").write_text("{")


def forged_log_of_removals(scene: Scene) -> None:
    """All tifs were removed long ago, it says."""
    with (scene.session / ".meso" / "removals.jsonl").open("a") as log:
        for path in scene.tifs:
            found = next(
                (p for p in (scene.session / path, scene.session / ".meso/removed" / path) if p.exists()), None
            )
            if found is not None:
                event = {"path": path, "size": found.stat().st_size, "mtime_ns": found.stat().st_mtime_ns}
                event |= {"sha256": "0" * 64, "md5": "0" * 32, "archive": "x", "archive_sha256": "0" * 64}
                log.write(json.dumps({**event, "at": "2000-01-01T00:00:00+00:00", "override": None}) + "\n")


def log_is_garbage(scene: Scene) -> None:
    (scene.session / ".meso" / "removals.jsonl").write_bytes(b"nonsense\nmore\n")


def log_is_a_folder(scene: Scene) -> None:
    log = scene.session / ".meso" / "removals.jsonl"
    log.unlink(missing_ok=True)
    log.mkdir()


# --- the tifs ---


def tif_is_rewritten_and_its_time_set_back(scene: Scene) -> None:
    if scene.tif is not None:
        _in_place(scene.tif, _flip)
        scene.precious.add(sha256(scene.tif.read_bytes()))


def tif_grows(scene: Scene) -> None:
    if scene.tif is not None:
        scene.write(scene.tif, scene.tif.read_bytes() + b"more")


def tif_is_touched(scene: Scene) -> None:
    if scene.tif is not None:
        os.utime(scene.tif, ns=(1, 1))


def tif_is_replaced(scene: Scene) -> None:
    """By another file of this size and time, under its name of now."""
    if scene.tif is not None:
        status, data = scene.tif.stat(), bytearray(scene.tif.read_bytes())
        _flip(data)
        scene.write(scene.session / "beside", bytes(data))
        os.utime(scene.session / "beside", ns=(status.st_atime_ns, status.st_mtime_ns))
        (scene.session / "beside").rename(scene.tif)


def tif_is_a_link(scene: Scene) -> None:
    if scene.tif is not None:
        tif = scene.tif
        tif.rename(scene.session / "elsewhere.tif")
        tif.symlink_to(scene.session / "elsewhere.tif")


def tif_got_a_second_name_and_is_written_by_it(scene: Scene) -> None:
    if scene.tif is not None:
        os.link(scene.tif, scene.session / "second.tif")
        _in_place(scene.session / "second.tif", _flip)
        scene.precious.add(sha256(scene.tif.read_bytes()))


def tif_is_deleted(scene: Scene) -> None:
    if scene.tif is not None:
        scene.tif.unlink()


def rig_writes_a_new_tif_of_this_name(scene: Scene) -> None:
    if not scene.place.exists():
        scene.write(scene.place, b"II*\0 the rig's next recording")


def rig_writes_the_same_tif_again(scene: Scene) -> None:
    """With its times, as a copy that is repeated."""
    if not scene.place.exists() and scene.tif is not None:
        shutil.copy2(scene.tif, scene.place)


def rig_writes_a_new_tif_of_another_name(scene: Scene) -> None:
    scene.write(scene.place.with_name("later_00009.tif"), b"II*\0 a tif that came late")


def program_writes_through_its_descriptor(scene: Scene) -> None:
    """It has opened the tif before it was moved."""
    for file in scene.opened:
        if hasattr(file, "seek"):
            file.seek(1000)
            file.write(b"written late")
            file.flush()
            if scene.tif is not None:
                scene.precious.add(sha256(scene.tif.read_bytes()))


def program_writes_through_a_memory_map(scene: Scene) -> None:
    for file in scene.opened:
        with mmap.mmap(file.fileno(), 0) as mapped:  # type: ignore[attr-defined]
            mapped[2000:2012] = b"written late"
        if scene.tif is not None:
            scene.precious.add(sha256(scene.tif.read_bytes()))


# --- the folders ---


def place_of_removed_tifs_is_a_link(scene: Scene) -> None:
    place = scene.session / ".meso" / "removed"
    if not place.exists():
        (scene.session / "trap").mkdir(exist_ok=True)
        place.symlink_to(scene.session / "trap")


def place_of_removed_tifs_of_a_bout_is_a_file(scene: Scene) -> None:
    place = scene.session / ".meso" / "removed" / scene.place.parent.name
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"x")


def place_of_removed_tifs_is_taken(scene: Scene) -> None:
    place = scene.session / ".meso" / "removed" / scene.tifs[0]
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        scene.write(place, b"somebody's")


def lock_is_a_pipe(scene: Scene) -> None:
    lock = scene.session / ".meso" / "locks" / "raw_tifs.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.unlink(missing_ok=True)
    os.mkfifo(lock)


def bout_is_moved_away(scene: Scene) -> None:
    if scene.place.parent.exists():
        scene.place.parent.rename(scene.session / "raw_imaging_data_07")


ARCHIVE = (
    *(archive_is_garbage, archive_has_a_flipped_bit, archive_is_cut, archive_is_empty, archive_is_deleted),
    *(archive_is_a_link_to_a_copy, archive_is_a_pipe, archive_is_a_folder, archive_is_another_whole_one),
    *(archive_is_replaced_by_the_same, archive_got_a_second_name, archive_got_another_beside_it),
)
RECORDS = (
    *(forged_record, forged_manifest, forged_record_and_manifest, forged_record_of_a_whole_archive),
    *(forged_record_and_manifest_of_a_whole_archive, record_without_one_tif, record_with_hashes_of_nothing),
    *(record_is_gone, record_is_garbage, manifest_is_gone, manifest_is_garbage),
    *(forged_log_of_removals, log_is_garbage, log_is_a_folder),
)
TIFS = (
    *(tif_is_rewritten_and_its_time_set_back, tif_grows, tif_is_touched, tif_is_replaced, tif_is_a_link),
    *(tif_got_a_second_name_and_is_written_by_it, tif_is_deleted, rig_writes_a_new_tif_of_this_name),
    *(rig_writes_the_same_tif_again, rig_writes_a_new_tif_of_another_name),
    *(program_writes_through_its_descriptor, program_writes_through_a_memory_map),
)
FOLDERS = (
    *(place_of_removed_tifs_is_a_link, place_of_removed_tifs_of_a_bout_is_a_file, place_of_removed_tifs_is_taken),
    *(lock_is_a_pipe, bout_is_moved_away),
)
ACTIONS = (*ARCHIVE, *RECORDS, *TIFS, *FOLDERS)


def target_of(action: Callable[[Scene], None]) -> str:
    """What an action attacks."""
    targets = {"the archive": ARCHIVE, "the records": RECORDS, "the tifs": TIFS, "the folders": FOLDERS}
    return next(target for target, actions in targets.items() if action in actions)


#: When something happens: before the gate is asked, after it, and when removing or freeing tells its progress.
MOMENTS = (
    "before",
    "planned",
    "removing: bytes verified",
    "removing: bytes of tifs compared",
    "removed",
    "freeing: bytes verified",
    "freeing: bytes of tifs compared",
    "freeing: tifs freed",
)
