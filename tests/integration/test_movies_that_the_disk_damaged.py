"""A published movie that the disk has damaged is made again as the audit says: moved away, and the asset run."""

import os

import dagster as dg
import pytest

from meso_core.storage import verify_manifest
from tests.integration.three_fields import FRAMES, KEY, ROIS, Worked, failed_steps, files_of

pytestmark = [
    pytest.mark.usefixtures("without_workers"),
    pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning"),
]
MOVIE = "suite2p/plane1/imaging.frames_motionRegistered.bin"


@pytest.fixture
def damaged(copied):
    """A bit of a movie is another one, size and time are as before; its second name in the work folder has it too."""
    session = copied[1]
    movie, work = session.path / MOVIE, session.path / ".meso" / "work" / MOVIE
    times = movie.stat().st_atime_ns, movie.stat().st_mtime_ns
    with movie.open("r+b") as file:
        file.seek(1000)
        bit = file.read(1)[0] ^ 1
        file.seek(1000)
        file.write(bytes([bit]))
    os.utime(movie, ns=times)
    work.unlink()
    work.hardlink_to(movie)
    return copied


def test_a_damaged_movie_that_was_moved_away_is_registered_anew_and_not_published_again(
    damaged, three_done, materialise, tmp_path, monkeypatch
):
    settings, session = damaged
    assert verify_manifest(session.path, session.manifest(FRAMES)) != (), "else this shows nothing"
    (session.path / MOVIE).rename(tmp_path / "moved away")
    worked = Worked(monkeypatch)
    with dg.DagsterInstance.ephemeral() as fresh:
        assert failed_steps(materialise(fresh, settings, KEY, (FRAMES,))) == {}
    assert worked.fovs == [(1, "registration")], "the others are kept"
    assert verify_manifest(session.path, session.manifest(FRAMES)) == ()
    assert files_of(session, FRAMES) == files_of(three_done, FRAMES)


@pytest.mark.parametrize(
    ("asset", "path"), [(FRAMES, MOVIE), (ROIS, "alf/FOV_01/mpci.ROIActivityF.npy")], ids=["movie", "traces"]
)
def test_a_file_that_is_in_the_way_is_told_before_the_work(copied, materialise, monkeypatch, asset, path):
    settings, session = copied
    with (session.path / path).open("ab") as file:
        file.write(b"x")
    worked = Worked(monkeypatch)
    with dg.DagsterInstance.ephemeral() as fresh:
        (told,) = failed_steps(materialise(fresh, settings, KEY, (asset,))).values()
    assert worked.fovs == []
    assert f"found {path}, which somebody else has put there or changed" in told
    assert "move it away and run again" in told
