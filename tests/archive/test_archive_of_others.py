"""Tars that others made, and archives that are none: what is harmless is taken, and the remedy fits what is not."""

from __future__ import annotations

import bz2
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from meso_core.archive import ARCHIVE_NAME, compress_tifs, hash_tif
from meso_core.errors import ArchiveError
from meso_core.session import raw_tifs


def _tar(*options: str) -> Callable[[Path], None]:
    def make(bout: Path) -> None:
        archive = bout.parent / ARCHIVE_NAME
        names = [tif.name for tif in raw_tifs(bout)]
        words = [w for option in options for w in (names if option == "TIFS" else [option.replace("BOUT", bout.name)])]
        subprocess.run(["tar", "-cjf", str(archive), *words], cwd=bout, check=True)
        archive.rename(bout / ARCHIVE_NAME)

    return make


def _only_tifs(bout: Path) -> None:
    for entry in bout.iterdir():
        if entry not in raw_tifs(bout):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@pytest.mark.parametrize(
    "make",
    [
        _tar("."),
        _tar("--format=pax", "--pax-option=comment=by the rig", "TIFS"),
        _tar("--format=pax", "--pax-option=mtime=1000000000", "TIFS"),
        _tar("--label=SP035", "TIFS"),
        _tar("--format=pax", "--label=SP035", "TIFS"),
    ],
    ids=["the folder itself", "global pax header", "global time", "label", "label, pax"],
)
def test_harmless_tar_of_others_is_adopted(bout: Path, make: Callable[[Path], None]) -> None:
    _only_tifs(bout)
    members = tuple(hash_tif(tif) for tif in raw_tifs(bout))
    make(bout)
    report = compress_tifs(bout)
    assert report.adopted
    assert report.members == members


@pytest.mark.parametrize(
    "make",
    [
        _tar("."),
        _tar("TIFS", "_ibl_rawImagingData.meta.json"),
        _tar("-C", "..", "BOUT"),
        _tar("-C", "..", "--no-recursion", "BOUT"),
    ],
    ids=["everything in the folder", "with the metadata", "the folder by its name", "an empty folder"],
)
def test_harmless_tar_that_holds_other_things_is_not_called_hostile(bout: Path, make: Callable[[Path], None]) -> None:
    make(bout)
    before = (bout / ARCHIVE_NAME).read_bytes()
    with pytest.raises(ArchiveError, match="Move this archive away and archive the tifs again") as caught:
        compress_tifs(bout)
    assert "Do not unpack" not in str(caught.value)
    assert (bout / ARCHIVE_NAME).read_bytes() == before


def test_bomb_takes_no_more_memory_with_more_cores(tmp_path: Path) -> None:
    """10 streams of 45 MB of one value, and one stream of 10 such blocks, with 16 workers: all at once are too many."""
    path = tmp_path / ARCHIVE_NAME
    script = (
        "import sys; from meso_core.archive.codec.bzip2 import Bzip2Reader; from pathlib import Path\n"
        "with Bzip2Reader(Path(sys.argv[1]), workers=16) as reader:\n"
        "    n = sum(len(b) for b in iter(lambda: reader.read(1 << 20), b''))\n"
        "print(n, int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1000)"
    )
    for packed in (bz2.compress(bytes(45_000_000)) * 10, bz2.compress(bytes(45_000_000 * 10))):
        path.write_bytes(packed)
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
        n_bytes, peak_mb = map(int, done.stdout.split())
        assert n_bytes == 10 * 45_000_000
        assert peak_mb < 300, peak_mb
