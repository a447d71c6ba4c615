"""The tar.bz2: what any tar reads, verified by content, never half."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile
from archive_programs import needs

import meso_core.archive as archive_module
from meso_core.archive import (
    ARCHIVE_NAME,
    ZARR_NAME,
    ArchiveReport,
    archive_bout,
    compress_tifs,
    compress_to_zarr,
    hash_tif,
    load_report,
    save_report,
    verify_any,
    verify_archive,
)
from meso_core.archive import tarball as tarball_module
from meso_core.archive.zarr import write as zarr_module
from meso_core.errors import ArchiveError, InputFileError, MissingInputError, SettingsError, StorageError
from meso_core.session import natural_key, raw_tifs
from meso_core.storage.files.hashing import sha256_of


def _contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in raw_tifs(folder)}


def _rename(bout: Path, names: list[str]) -> None:
    for tif, name in zip(raw_tifs(bout), names, strict=True):
        tif.rename(bout / name)


@pytest.mark.parametrize(
    "unpack",
    [
        "tar -C {out} -xjf {archive}",
        "bunzip2 -c {archive} | tar -C {out} -xf -",
        "lbzip2 -dc {archive} | tar -C {out} -xf -",
    ],
    ids=["GNU tar", "bunzip2", "lbzip2"],
)
def test_any_tar_brings_back_bytes_names_and_times(bout: Path, tmp_path: Path, unpack: str) -> None:
    needs(unpack.split()[0])
    _rename(bout, ["a session with spaces_1.tif", "été µ_2.tif"])
    before = _contents(bout)
    compress_tifs(bout)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(unpack.format(out=out, archive=bout / ARCHIVE_NAME), shell=True, check=True)
    assert _contents(out) == before


def test_pythons_tarfile_reads_names_in_natural_order(bout: Path) -> None:
    long = "x" * 140
    _rename(bout, [f"{long}_2.tif", f"{long}_10.tif"])
    compress_tifs(bout)
    with tarfile.open(bout / ARCHIVE_NAME) as tar:
        names = tar.getnames()
        assert all(m.isreg() and m.uid == m.gid == 0 and not m.uname for m in tar.getmembers())
    assert names == [f"{long}_2.tif", f"{long}_10.tif"] == sorted(names, key=natural_key)


def test_bytes_depend_on_the_input_alone(bout: Path, tmp_path: Path) -> None:
    reports = [compress_tifs(bout, tmp_path / f"{n}.tar.bz2", workers=n) for n in (1, 3)]
    assert len({r.sha256 for r in reports}) == 1
    assert len({hashlib.md5((tmp_path / f"{n}.tar.bz2").read_bytes()).hexdigest() for n in (1, 3)}) == 1
    os.utime(raw_tifs(bout)[0], ns=(0, 1_700_000_000_123_456_789))
    assert compress_tifs(bout, tmp_path / "4.tar.bz2").sha256 != reports[0].sha256


def test_report_tells_hashes_and_frames_of_each_tif(bout: Path) -> None:
    report = compress_tifs(bout)
    for member, tif in zip(report.members, raw_tifs(bout), strict=True):
        data = tif.read_bytes()
        assert (member.name, member.size, member.mtime_ns) == (tif.name, len(data), tif.stat().st_mtime_ns)
        assert member.sha256 == hashlib.sha256(data).hexdigest()
        assert member.md5 == hashlib.md5(data).hexdigest()
        with tifffile.TiffFile(tif) as file:
            assert member.n_pages == len(file.pages)
    archive = (bout / ARCHIVE_NAME).read_bytes()
    assert (report.size, report.sha256) == (len(archive), hashlib.sha256(archive).hexdigest())
    assert report.n_pages == 80
    assert 0 < report.ratio < 1
    save_report(bout.parent, report)
    assert load_report(bout.parent, bout.name) == report == ArchiveReport.from_json(report.to_json(), "x")


def test_progress_reaches_the_end_twice_and_tells_no_ratio_before_there_is_one(bout: Path) -> None:
    told: list[tuple[int, int, str]] = []
    compress_tifs(bout, progress=lambda *what: told.append(what))
    total = sum(t.stat().st_size for t in raw_tifs(bout))
    compressed = [t for t in told if t[2].startswith("bytes compressed")]
    assert not [t for t in compressed if "nan" in t[2]]
    assert compressed[-1][:2] == (total, total)
    verified = [t for t in told if t[2] == "bytes verified"]
    assert verified[-1][0] == verified[-1][1] >= total
    assert [t[0] for t in compressed] == sorted(t[0] for t in compressed)


def test_archive_of_others_is_verified_and_adopted(bout: Path) -> None:
    names = [t.name for t in raw_tifs(bout)]
    subprocess.run(["tar", "-cjf", ARCHIVE_NAME, *names], cwd=bout, check=True)
    before = (bout / ARCHIVE_NAME).read_bytes()
    report = compress_tifs(bout)
    assert report.adopted
    assert report.compared_with_tifs
    assert report.members == tuple(hash_tif(t) for t in raw_tifs(bout))
    assert (bout / ARCHIVE_NAME).read_bytes() == before


def test_archive_that_disagrees_is_refused_with_the_members_named(bout: Path) -> None:
    compress_tifs(bout)
    first, second = raw_tifs(bout)
    with second.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\x55\xaa")
    with pytest.raises(ArchiveError, match=f"{second.name} has other content") as caught:
        compress_tifs(bout)
    assert first.name not in str(caught.value)
    second.unlink()
    with pytest.raises(ArchiveError, match=f"{second.name} is not among the tifs"):
        compress_tifs(bout)
    assert (bout / ARCHIVE_NAME).exists()


def test_archive_without_one_of_the_tifs_is_refused(bout: Path) -> None:
    first, second = raw_tifs(bout)
    subprocess.run(["tar", "-cjf", ARCHIVE_NAME, first.name], cwd=bout, check=True)
    with pytest.raises(ArchiveError, match=f"{second.name} is missing"):
        compress_tifs(bout)


@pytest.mark.parametrize("spoil", ["append", "rewrite", "truncate", "replace", "remove"])
def test_tif_that_changes_while_it_is_read_is_an_error(bout: Path, spoil: str) -> None:
    second = raw_tifs(bout)[1]
    first_bytes = raw_tifs(bout)[0].stat().st_size

    def meddle(done: int, total: int, what: str) -> None:
        if done <= first_bytes or not second.exists() or second.stat().st_mtime_ns == 1:
            return
        data = second.read_bytes()
        if spoil == "append":
            second.write_bytes(data + b"more")
        elif spoil == "rewrite":
            second.write_bytes(data[::-1])
        elif spoil == "truncate":
            os.truncate(second, len(data) // 2)
        elif spoil == "replace":
            second.with_suffix(".new").write_bytes(data)
            second.with_suffix(".new").replace(second)
        else:
            second.unlink()
            return
        os.utime(second, ns=(1, 1))

    with pytest.raises(InputFileError, match="does not change while it is read"):
        compress_tifs(bout, progress=meddle)
    assert not list(bout.glob("*.bz2"))
    assert not list(bout.glob(".*"))


def test_foreign_tif_in_the_folder_is_an_error(bout: Path, real_data: Path) -> None:
    shutil.copy(real_data / "scanimage" / "iblscripts_reference_image.tif", bout / "zz_image.tif")
    with pytest.raises(InputFileError, match="zz_image"):
        compress_tifs(bout)
    shutil.copy(real_data / "scanimage" / "vol_no_flyback_00001_00001.tif", bout / "zz_image.tif")
    with pytest.raises(InputFileError, match="zz_image"):
        compress_tifs(bout)
    assert not (bout / ARCHIVE_NAME).exists()


def test_of_a_link_in_place_of_a_tif_the_archive_holds_what_it_leads_to(bout: Path, tmp_path: Path) -> None:
    tif = raw_tifs(bout)[0]
    content, status = tif.read_bytes(), tif.stat()
    shutil.move(tif, tmp_path / "elsewhere.tif")
    tif.symlink_to(tmp_path / "elsewhere.tif")
    report = compress_tifs(bout)
    (member,) = [m for m in report.members if m.name == tif.name]
    assert (member.size, member.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert member.sha256 == hashlib.sha256(content).hexdigest()
    with tarfile.open(bout / ARCHIVE_NAME) as archive:
        assert archive.getmember(tif.name).isreg()
        assert archive.extractfile(tif.name).read() == content
    tif.unlink()
    tif.symlink_to("/not/mounted/now.tif")
    (bout / ARCHIVE_NAME).unlink()
    with pytest.raises(InputFileError, match=r"a link to /not/mounted/now\.tif, where there is none"):
        compress_tifs(bout)


def test_bout_without_tifs_and_archive_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "raw_imaging_data_00"
    empty.mkdir()
    with pytest.raises(MissingInputError, match="raw_imaging_data_00"):
        compress_tifs(empty)
    with pytest.raises(MissingInputError, match="none of them"):
        archive_bout(empty)
    with pytest.raises(MissingInputError):
        verify_archive(empty / ARCHIVE_NAME)
    with pytest.raises(SettingsError, match="zip"):
        archive_bout(empty, archive_format="zip")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", ["compress_tifs", "compress_to_zarr"])
def test_kill_at_any_moment_leaves_whole_archives_only(bout: Path, tmp_path: Path, make: str) -> None:
    script = textwrap.dedent(
        f"""
        import sys, warnings; from pathlib import Path; from meso_core.archive import {make}
        warnings.simplefilter("ignore"); import pcodec, zarr.codecs.numcodecs
        print("ready", flush=True)
        for i in range(10**6):
            {make}(Path(sys.argv[1]), Path(sys.argv[2]) / f"{{i}}.archive")
        """
    )
    before, members = _contents(bout), tuple(hash_tif(t) for t in raw_tifs(bout))
    rng, halves = random.Random(4), 0
    for turn in range(2):
        out = tmp_path / f"out{turn}"
        out.mkdir()
        with subprocess.Popen([sys.executable, "-c", script, str(bout), str(out)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            while not list(out.glob(".*.part")):
                time.sleep(0.002)
            time.sleep(turn * rng.uniform(0, 0.5))  # first at once, then at any moment
            child.send_signal(signal.SIGKILL)
        for archive in out.glob("*.archive"):
            verify_any(archive, members)
        parts = list(out.glob(".*.part"))
        halves += len(parts)
        for part in parts:  # the next run takes over where the killed one left its part
            again = out / part.name.removeprefix(".").removesuffix(".part")
            verify_any(again, getattr(archive_module, make)(bout, again).members)
            assert not part.exists()
    assert _contents(bout) == before
    assert halves, "no kill hit a compression: the test shows nothing"


def test_disk_too_small_is_noticed_before_anything_is_written(bout: Path, disk: Callable[[str], Any]) -> None:
    with disk("size=256k") as folder:
        with pytest.raises(StorageError, match="GB free"):
            compress_tifs(bout, folder / "x.tar.bz2")
        assert not list(folder.iterdir())


@pytest.mark.parametrize("make", ["compress_tifs", "compress_to_zarr"])
def test_disk_that_fills_up_meanwhile_loses_the_part_only(
    bout: Path, disk: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, make: str
) -> None:
    for module in (tarball_module, zarr_module):  # as if the room went after the check
        monkeypatch.setattr(module, "check_room", lambda *_: None)
    before = _contents(bout)
    with disk("size=512k") as folder:
        with pytest.raises(StorageError, match="No space left"):
            getattr(archive_module, make)(bout, folder / "x.archive")
        assert not list(folder.iterdir())
    assert _contents(bout) == before


def test_limit_on_file_size_is_a_storage_error(bout: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="File too large"):
            compress_tifs(bout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(bout.glob("*.bz2"))
    assert not list(bout.glob(".*"))


def test_estimate_of_the_size_is_near(bout: Path) -> None:
    from meso_core.scanimage import ScanImageTif

    estimate = tarball_module.estimate_size([ScanImageTif(t) for t in raw_tifs(bout)])
    assert estimate == pytest.approx(compress_tifs(bout).size, rel=0.05)


def test_no_right_to_write_is_a_storage_error(bout: Path, disk: Callable[[str], Any]) -> None:
    with disk("ro") as folder, pytest.raises(StorageError, match="Check the permissions"):
        compress_tifs(bout, folder / "x.tar.bz2")


def test_second_run_on_the_same_bout_is_refused_while_the_first_writes(bout: Path) -> None:
    def second(done: int, total: int, what: str) -> None:
        if done:
            with pytest.raises(StorageError, match="no other run"):
                compress_tifs(bout)

    compress_tifs(bout, progress=_once(second))
    verify_archive(bout / ARCHIVE_NAME, [hash_tif(t) for t in raw_tifs(bout)])


def _once(call: Callable[[int, int, str], None]) -> Callable[[int, int, str], None]:
    calls = iter([call])
    return lambda *what: next(calls, lambda *_: None)(*what)


@pytest.mark.parametrize("make", ["compress_tifs", "compress_to_zarr"])
def test_second_run_that_waited_at_the_lock_spares_the_archive_of_the_first(
    bout: Path, monkeypatch: pytest.MonkeyPatch, make: str
) -> None:
    """The second opens the locked file before the first has finished, and gets the lock after that."""
    name = {"compress_tifs": ARCHIVE_NAME, "compress_to_zarr": ZARR_NAME}[make]
    flock, in_between = fcntl.flock, [True]

    def late(file: Any, operation: int) -> None:
        if in_between:
            in_between.clear()  # the first run, from its first to its last step
            getattr(archive_module, make)(bout)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(StorageError):
        getattr(archive_module, make)(bout)
    verify_any(bout / name, [hash_tif(t) for t in raw_tifs(bout)])
    assert not list(bout.glob(".*"))


def test_second_run_on_the_same_folder_is_refused_while_the_first_writes(bout: Path) -> None:
    refused = []

    def second(done: int, total: int, what: str) -> None:
        with pytest.raises(StorageError, match="no other run"):
            compress_to_zarr(bout)
        refused.append(what)

    compress_to_zarr(bout, progress=_once(second))
    assert refused
    verify_any(bout / ZARR_NAME, [hash_tif(t) for t in raw_tifs(bout)])
    assert not list(bout.glob(".*"))


@pytest.mark.parametrize("kill", ["while writing", "between name and part"])
def test_part_of_a_killed_run_is_never_emptied_where_it_is_an_archive_already(
    bout: Path, tmp_path: Path, kill: str
) -> None:
    report = compress_tifs(bout)
    part = bout / f".{ARCHIVE_NAME}.part"
    os.link(bout / ARCHIVE_NAME, part)
    if kill == "while writing":
        (bout / ARCHIVE_NAME).unlink()
    else:
        (bout / ARCHIVE_NAME).rename(tmp_path / ARCHIVE_NAME)
    assert compress_tifs(bout).sha256 == report.sha256
    if kill == "between name and part":
        assert sha256_of(tmp_path / ARCHIVE_NAME) == report.sha256
    assert not part.exists()


@pytest.mark.parametrize("make", ["compress_tifs", "compress_to_zarr"])
def test_file_that_appears_under_the_name_meanwhile_is_never_overwritten(bout: Path, make: str) -> None:
    name = {"compress_tifs": ARCHIVE_NAME, "compress_to_zarr": ZARR_NAME}[make]
    theirs = bout / name if make == "compress_tifs" else bout / name / "zarr.json"

    def appear(done: int, total: int, what: str) -> None:
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_bytes(b"theirs")

    with pytest.raises(StorageError):
        getattr(archive_module, make)(bout, progress=appear)
    assert theirs.read_bytes() == b"theirs"
    assert not list(bout.glob(".*"))
