"""Odd input that is nobody's fault: names as no rig gives them; all of it comes back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from archive_processed import ARCHIVE_ASSET, plan_of, register

from meso_core.archive import (
    ARCHIVE_NAME,
    archive_bout,
    compress_tifs,
    free_removed,
    hash_tif,
    load_removals,
    remove_raw_tifs,
    restore,
    save_report,
    verify_archive,
)
from meso_core.session import IMAGING_META_FILE, raw_tifs

NAMES = {
    "255 bytes": "x" * 251 + ".tif",
    "250 bytes": "x" * 246 + ".tif",
    "255 bytes of two-byte letters": "é" * 125 + "x.tif",
    "not UTF-8": os.fsdecode(b"\xe9t\xe9_00001.tif"),
    "not UTF-8 and long": os.fsdecode(b"\xe9" * 251 + b".tif"),
    "a superscript": "10²3_1.tif",
}


def _formats(*kinds: str) -> list[Any]:
    """Each name in one of the formats, both formats with some names; the other pairs come in the night."""
    quick = {(kind, ("tar.bz2", "zarr")[i % 2]) for i, kind in enumerate(kinds)}
    pairs = [(kind, archive_format) for kind in kinds for archive_format in ("tar.bz2", "zarr")]
    return [pytest.param(*pair, marks=[] if pair in quick else [pytest.mark.nightly]) for pair in pairs]


@pytest.mark.parametrize(("kind", "archive_format"), _formats(*NAMES))
def test_any_name_is_archived_removed_and_restored(bout: Path, kind: str, archive_format: str) -> None:
    session, name = bout.parent, NAMES[kind]
    shutil.rmtree(session / "raw_imaging_data_01")
    first, second = raw_tifs(bout)
    first.rename(bout / name)
    second.unlink()
    before = [hash_tif(tif) for tif in raw_tifs(bout)]
    meta = bout / IMAGING_META_FILE  # of a recording that was so short
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "nFrames": before[0].n_pages}))
    save_report(session, archive_bout(bout, archive_format=archive_format))  # type: ignore[arg-type]
    register(session)
    removed = remove_raw_tifs(plan_of(session))
    assert not raw_tifs(bout)
    assert load_removals(session) == removed
    free_removed(session, ARCHIVE_ASSET, 0)
    restore(session)
    assert [hash_tif(tif) for tif in raw_tifs(bout)] == before
    assert name in [member.name for member in before]


def test_listing_with_a_name_that_is_not_utf8_has_a_version(tmp_path: Path) -> None:
    from meso_core.session import SessionKey, listing_version
    from meso_core.storage import open_store

    key = SessionKey.parse("SP035/2023-03-03/001")
    folder = tmp_path / str(key)
    folder.mkdir(parents=True)
    versions = set()
    for name in (b"\xe9.tif", b"\xe8.tif"):
        (folder / os.fsdecode(name)).write_bytes(b"x")
        versions.add(listing_version(open_store(tmp_path).listing(key)))
    assert len(versions) == 2


def test_path_as_text_is_as_good_as_a_path(bout: Path) -> None:
    report = compress_tifs(bout)
    assert verify_archive(str(bout / ARCHIVE_NAME), report.members).sha256 == report.sha256


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_adoption_tells_how_far_it_is_with_the_tifs(bout: Path, archive_format: Any) -> None:
    archive_bout(bout, archive_format=archive_format)
    told: list[tuple[int, int, str]] = []
    archive_bout(bout, archive_format=archive_format, progress=lambda *what: told.append(what))
    total = sum(tif.stat().st_size for tif in raw_tifs(bout))
    hashed = [(done, of) for done, of, what in told if what == "bytes of tifs hashed"]
    assert hashed[-1] == (total, total)
    assert hashed == sorted(hashed)


def test_no_module_of_the_archive_is_hidden_by_a_name_that_the_package_gives() -> None:
    import pkgutil

    import meso_core.archive as package

    assert not {module.name for module in pkgutil.iter_modules(package.__path__)} & set(package.__all__)
