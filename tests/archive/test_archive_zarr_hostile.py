"""A zarr folder that somebody meddled with: its attributes, and what its files are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_disk import snapshot

from meso_core.archive import (
    ARCHIVE_NAME,
    ZARR_NAME,
    ArchiveReport,
    archive_bout,
    archive_source,
    compress_tifs,
    compress_to_zarr,
    hash_tif,
    open_frames,
    restore,
    save_report,
    verify_any,
)
from meso_core.errors import ArchiveError
from meso_core.session import raw_tifs


@pytest.fixture
def packed(bout: Path) -> Path:
    """Folder of frames of a bout whose tifs are gone."""
    compress_to_zarr(bout)
    for tif in raw_tifs(bout):
        tif.unlink()
    return bout / ZARR_NAME


def _edit(packed: Path, **fields: Any) -> None:
    head = packed / "zarr.json"
    body = json.loads(head.read_text())
    body["attributes"]["tifs"][0].update(fields)
    head.write_text(json.dumps(body))


BAD: dict[str, dict[str, Any]] = {
    "a size in words": {"size": "x"},
    "a negative size": {"size": -1},
    "a size less than its pixels": {"size": 100},
    "a size beyond what its files can hold": {"size": 1 << 60},
    "a number for a name": {"name": 5},
    "a fraction of pages": {"n_pages": 50.0},
    "yes for a number of pages": {"n_pages": True},
    "no time": {"mtime_ns": None},
    "a time that no clock has": {"mtime_ns": 10**30},
    "a number for a hash": {"sha256": 7},
    "half a hash": {"sha256": "ab"},
    "a list for the other hash": {"md5": []},
    "a field that nobody knows": {"owner": "x"},
}


@pytest.mark.parametrize("kind", BAD)
def test_attributes_of_a_wrong_kind_are_a_named_error(packed: Path, kind: str) -> None:
    _edit(packed, **BAD[kind])
    before = snapshot(packed.parent)
    for use in (open_frames, verify_any, archive_source):
        with pytest.raises(ArchiveError, match=ZARR_NAME):
            use(packed)
    with pytest.raises(ArchiveError):
        restore(packed.parents[1], bouts=[packed.parent.name])
    assert snapshot(packed.parent) == before


@pytest.mark.parametrize("kind", [k for k in BAD if not k.startswith(("a size less", "a size beyond"))])
def test_record_with_fields_of_a_wrong_kind_is_a_named_error(bout: Path, kind: str) -> None:
    body = json.loads(compress_tifs(bout).to_json())
    body["members"][0].update(BAD[kind])
    with pytest.raises(ArchiveError, match=r"record\.json"):
        ArchiveReport.from_json(json.dumps(body), "record.json")


def test_pages_that_the_folder_cannot_hold_are_refused_before_memory_is_taken(packed: Path) -> None:
    """10^12 pages: their shards are not there."""
    n_pages = 10**12
    frames = packed / "frames" / "zarr.json"
    body = json.loads(frames.read_text())
    _, height, width = body["shape"]
    body["shape"][0] = n_pages
    frames.write_text(json.dumps(body))
    other = open_frames.__module__ and json.loads((packed / "zarr.json").read_text())["attributes"]["tifs"][1]
    _edit(packed, n_pages=n_pages - other["n_pages"], size=2 * n_pages * height * width)
    with pytest.raises(ArchiveError, match="shards"):
        open_frames(packed).read(0, n_pages)


def test_array_that_claims_more_than_the_tif_has_is_refused(packed: Path) -> None:
    for name in ("data_offsets", "other_bytes"):
        path = packed / "tifs" / "00000" / name / "zarr.json"
        text = path.read_text()
        for field, value in (("shape", [1 << 50]), ("data_type", "complex128"), ("shape", [2, 5])):
            path.write_text(json.dumps({**json.loads(text), field: value}))
            with pytest.raises(ArchiveError, match=name):
                verify_any(packed)
        body = json.loads(text)
        body["chunk_grid"]["configuration"]["chunk_shape"] = [1 << 40]
        path.write_text(json.dumps(body))
        with pytest.raises(ArchiveError, match=name):
            verify_any(packed)
        path.write_text(text)


def _link(shard: Path, elsewhere: Path) -> None:
    shutil.move(shard, elsewhere)
    shard.symlink_to(elsewhere)


def _dev_zero(shard: Path, _: Path) -> None:
    shard.unlink()
    shard.symlink_to("/dev/zero")


def _fifo(shard: Path, _: Path) -> None:
    shard.unlink()
    os.mkfifo(shard)


MEDDLING: dict[str, Callable[[Path, Path], None]] = {"a link": _link, "/dev/zero": _dev_zero, "a FIFO": _fifo}
#: Uses of an archive, each of which must end in an error that names what is wrong.
USES = """
import json, sys, warnings; from pathlib import Path
warnings.simplefilter("ignore")
from meso_core.archive import *
from meso_core.errors import MesoError
from meso_core.qc import QCResult, Verdict
from meso_core.session import raw_tifs
verdict = QCResult("x", Verdict.PASS, 1.0, 1.0, "x", "x")
archive = Path(sys.argv[1]); bout = archive.parent; kind = "zarr" if archive.suffix == ".zarr" else "tar.bz2"
def frames():
    for tif in archive_source(archive).tifs:
        for block in tif.blocks(1 << 20):
            pass
def bring_back():
    for tif in raw_tifs(bout):
        tif.unlink()
    restore(bout.parent, bouts=[bout.name])
uses = {"verify": lambda: verify_any(archive), "frames": frames,
        "archive": lambda: archive_bout(bout, archive_format=kind),
        "remove": lambda: remove_raw_tifs(removal_plan(bout.parent, "frames", [verdict], archive_asset="archive")),
        "restore": bring_back}
for name, use in uses.items():
    try:
        use()
        error = None
    except MesoError as found:
        error = found
    print(json.dumps([name, type(error).__name__, str(error)]), flush=True)
"""


def _use(archive: Path) -> dict[str, tuple[str, str]]:
    """Errors that a process of its own meets, which may neither hang nor fill the memory."""
    command = ["prlimit", f"--as={8 << 30}", sys.executable, "-c", USES, str(archive)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return {name: (kind, words) for name, kind, words in map(json.loads, done.stdout.splitlines())}


SHARD = "frames/c/0/0/0"


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        *((kind, SHARD) for kind in MEDDLING),
        *(("a link", part) for part in ("tifs/00000/other_bytes/c/0", "zarr.json", "frames/c")),
    ],
)
def test_zarr_folder_with_what_is_no_plain_file_is_refused(bout: Path, tmp_path: Path, kind: str, part: str) -> None:
    save_report(bout.parent, compress_to_zarr(bout))
    MEDDLING[kind](bout / ZARR_NAME / part, tmp_path / "elsewhere")
    errors = _use(bout / ZARR_NAME)
    assert errors.pop("remove")[0] == "GateError", "tifs would go although their only copy is not in the archive"
    assert {name: kind for name, (kind, _) in errors.items()} == dict.fromkeys(errors, "ArchiveError")
    assert all(part in words for _, words in errors.values())
    assert not raw_tifs(bout)


@pytest.mark.parametrize("name", [ARCHIVE_NAME, ZARR_NAME])
@pytest.mark.parametrize("kind", MEDDLING)
def test_archive_that_is_no_plain_file_or_folder_is_refused(bout: Path, tmp_path: Path, kind: str, name: str) -> None:
    archive = bout / name
    save_report(bout.parent, archive_bout(bout, archive_format="zarr" if name == ZARR_NAME else "tar.bz2"))
    if archive.is_dir() and kind != "a link":
        shutil.move(archive, tmp_path / "moved")
        archive.write_bytes(b"")
    MEDDLING[kind](archive, tmp_path / "elsewhere")
    errors = _use(archive)
    assert errors.pop("remove")[0] == "GateError"
    assert {name: kind for name, (kind, _) in errors.items()} == dict.fromkeys(errors, "ArchiveError")
    assert all(name in words for _, words in errors.values())


def test_shard_larger_than_any_is_refused_before_it_is_read(packed: Path) -> None:
    os.truncate(packed / SHARD, 1 << 40)  # sparse: it takes no room
    kind, words = _use(packed)["frames"]
    assert kind == "ArchiveError"
    assert "shard 0" in words


def test_more_than_134_mb_beside_the_pixels_fit_into_the_zarr_folder(bout: Path) -> None:
    """As small pages with large headers have; here zeros behind the last page."""
    tif = raw_tifs(bout)[0]
    os.truncate(tif, tif.stat().st_size + (140 << 20))
    members = [hash_tif(t) for t in raw_tifs(bout)]
    report = archive_bout(bout, archive_format="zarr")
    assert report.archive_format == "zarr"
    save_report(bout.parent, report)
    for tif in raw_tifs(bout):
        tif.unlink()
    restore(bout.parent, bouts=[bout.name])
    assert [hash_tif(t) for t in raw_tifs(bout)] == members
