"""The archive beside ibllib 4.0.0's MesoscopeCompress, run on the same session."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from archive_processed import plan_of, publish_archives

from meso_core.archive import (
    ARCHIVE_NAME,
    Override,
    archive_bout,
    compress_tifs,
    hash_tif,
    remove_raw_tifs,
    restore,
    save_report,
)
from meso_core.errors import GateError
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.simulate import simulate_session
from tests.short_session import short

SCRIPT = Path(__file__).with_name("archive_peer.py")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session that is packed six times; tests copy it."""
    return simulate_session(tmp_path_factory.mktemp("recorded") / "Subjects", short()).session_path


@pytest.fixture
def session(recorded: Path, tmp_path: Path) -> Path:
    target = tmp_path / "Subjects" / "SP035" / "2023-03-03" / "001"
    for bout in imaging_bouts(recorded):
        shutil.copytree(bout, target / bout.name)
    return target


def _compress(peer_python: Path, session: Path, **options: object) -> dict[str, Any]:
    done = subprocess.run(
        [str(peer_python), "-W", "ignore", str(SCRIPT), str(session), json.dumps(options)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_peer_accepts_our_archives_and_we_adopt_its(session: Path, peer_python: Path) -> None:
    for bout in imaging_bouts(session):
        compress_tifs(bout)
    ours = {bout: (bout / ARCHIVE_NAME).read_bytes() for bout in imaging_bouts(session)}
    result = _compress(peer_python, session)  # finds them, and runs its own verification on them
    assert result.keys() == {"out"}, result
    assert {bout: (bout / ARCHIVE_NAME).read_bytes() for bout in ours} == ours

    result = _compress(peer_python, session, overwrite=True)
    assert result.keys() == {"out"}, result
    for bout, ours_bytes in ours.items():
        assert (bout / ARCHIVE_NAME).read_bytes() != ours_bytes
        report = compress_tifs(bout)
        assert report.adopted
        assert report.members == tuple(hash_tif(t) for t in raw_tifs(bout))
        # GNU tar keeps times of the tifs: they come back from the peer's archive too
        save_report(session, report)
        for tif in raw_tifs(bout):
            tif.unlink()
        restore(session, bouts=[bout.name])
        assert report.members == tuple(hash_tif(t) for t in raw_tifs(bout))


def test_second_bout_that_the_peer_loses_is_kept(session: Path, peer_python: Path, tmp_path: Path) -> None:
    """The first bout is archived and its tifs are gone; the second is not archived. Then removal is asked for."""
    first, second = imaging_bouts(session)
    save_report(session, archive_bout(first))
    for tif in raw_tifs(first):
        tif.unlink()
    copy = tmp_path / "copy"
    shutil.copytree(session, copy)
    _compress(peer_python, copy, remove_uncompressed=True, verify_output=False)
    lost = copy / second.name
    assert not raw_tifs(lost), "the peer no longer shows this fault: say so in the documentation"
    assert not (lost / ARCHIVE_NAME).exists()

    before = [hash_tif(t) for t in raw_tifs(second)]
    override = Override("a person", "needs room")
    with pytest.raises(GateError, match=second.name):
        remove_raw_tifs(plan_of(session, override=override))
    save_report(session, archive_bout(second))
    publish_archives(session)
    remove_raw_tifs(plan_of(session, override=override))
    assert not raw_tifs(second)
    restore(session)
    assert [hash_tif(t) for t in raw_tifs(second)] == before
