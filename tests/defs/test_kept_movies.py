"""Movies of a report outlive the tifs, as long as what they show is what they were made of."""

import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.reporting import kept_movies
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.resources import Platform
from meso_assets.runs.settings.settings import load_settings
from meso_core.review import keep_person_verdict
from meso_core.storage import MadeBy

KEY = "SP035/2023-03-03/001"
MOVIE = "reports/session_movies/FOV_00.webm"


@pytest.fixture
def session(tmp_path):
    bout = tmp_path / "sessions" / KEY / "raw_imaging_data_00"
    bout.mkdir(parents=True)
    (bout / "x_00001.tif").write_bytes(b"x")
    settings = load_settings({"root": tmp_path / "sessions", "home": tmp_path / "home"})
    made = Platform.open(settings).session(KEY)
    for asset in ("imaging_metadata", "frame_times", "motion_registered_frames", "rois"):
        publish(made, settings, asset, f"{asset}.txt", b"first")
    publish(made, settings, "session_report", MOVIE, b"movie")
    return made, settings


def publish(session, settings, asset, path, content):
    staging = session.stage(asset)
    staging.write(path, content)
    session.publish(staging.seal(), look_at(session).standing(CATALOGUE[asset], settings).basis, MadeBy("by hand"))


def kept(session):
    return kept_movies(session, look_at(session))


def test_what_a_movie_does_not_show_may_change(session):
    made, settings = session
    assert kept(made) == {"FOV_00": made.path / MOVIE}
    publish(made, settings, "rois", "rois.txt", b"other")
    keep_person_verdict(made.path, "accept", "Ada")
    assert kept(made) == {"FOV_00": made.path / MOVIE}


@pytest.mark.parametrize("asset", ["imaging_metadata", "frame_times", "motion_registered_frames"])
def test_a_movie_of_other_frames_or_times_is_not_kept(session, asset):
    made, settings = session
    publish(made, settings, asset, f"{asset}.txt", b"other")
    assert kept(made) == {}


def test_a_movie_of_other_tifs_or_one_that_somebody_changed_is_not_kept(session):
    made, _ = session
    (made.path / MOVIE).write_bytes(b"another movie")
    assert kept(made) == {}
    (made.path / MOVIE).write_bytes(b"movie")
    assert list(kept(made)) == ["FOV_00"]
    (made.path / "raw_imaging_data_00" / "x_00002.tif").write_bytes(b"late")
    assert kept(made) == {}
    (made.path / ".meso/manifests/session_report.json").unlink()
    assert kept(made) == {}
