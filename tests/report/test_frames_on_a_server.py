"""A movie on a server is judged as one on a disk is, of a few hundred of its frames."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from movie_session import report_inputs

from meso_core.errors import InputFileError
from meso_core.imaging.fovs import plane
from meso_core.report import FarMovie, judge_session
from meso_core.report.frames import FarFrames, opened_movie
from meso_core.storage.hashing import hash_file
from meso_core.storage.remote import open_root, stat
from meso_core.storage.remote.ranges import ranged
from meso_core.storage.remote.transfer import upload


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return report_inputs(tmp_path_factory.mktemp("far"), frames_per_bout=(400, 60))


def far(inputs, fetched):
    """The same inputs, their movies on a server in memory; ``fetched`` gets the files that were read."""
    root = open_root(f"memory://frames-{id(inputs)}")

    def on_server(path, name):
        upload(root, path, name, content=hash_file(path))
        listed = stat(root, name)

        @contextmanager
        def opened():
            with ranged(root, name, listed) as file:
                fetched.append(file)
                yield file

        return FarMovie(opened, listed.size)

    there = {fov: on_server(path, f"{fov}.bin") for fov, path in inputs.movies.items()}
    return replace(inputs, movies={}, far_movies=there)


def test_verdicts_on_a_server_are_those_on_a_disk_and_most_of_the_movie_stays_there(inputs):
    fetched = []
    there, here = judge_session(far(inputs, fetched)), judge_session(inputs)
    assert there == here
    assert {"photons_per_pixel", "saturated_share", "crispness_gain", "ends_alike"} <= {one.check for one in here}
    assert len(fetched) == len(inputs.movies), "each is opened once"
    for movie, fov in zip(fetched, inputs.metadata.imaging.fovs, strict=True):
        n_frames, rest = divmod(movie.n_fetched, 2 * fov.ny * fov.nx)
        assert rest == 0, "whole frames and nothing else"
        assert 100 < n_frames <= 288, "96 over the recording, 48 at each end, 48 pairs; each once"


def test_a_frame_is_read_once_however_many_measures_ask_for_it(tmp_path):
    frames = np.random.default_rng(0).integers(0, 900, (40, 8, 6), dtype=np.int16)
    (tmp_path / "movie.bin").write_bytes(frames.tobytes())
    with (tmp_path / "movie.bin").open("rb") as file:
        found = FarFrames(file, frames.nbytes, (8, 6))
        assert (len(found), found.shape) == (40, (40, 8, 6))
        np.testing.assert_array_equal(found[7], frames[7])
        np.testing.assert_array_equal(found[38:50], frames[38:])
        np.testing.assert_array_equal(found[np.int64(3)][2:4], frames[3][2:4])
        file.close()
        np.testing.assert_array_equal(found[7], frames[7])


def test_a_movie_that_ends_early_is_a_named_error(tmp_path):
    (tmp_path / "movie.bin").write_bytes(bytes(100))
    with (tmp_path / "movie.bin").open("rb") as file, pytest.raises(InputFileError, match="frame 1"):
        FarFrames(file, 192, (8, 6))[1]


def test_a_field_without_a_movie_has_none_to_open(inputs):
    with opened_movie(replace(inputs, movies={}), "FOV_00", (96, 96)) as movie:
        assert movie is None
    with opened_movie(inputs, "FOV_00", inputs.metadata.imaging.fovs[0].shape) as movie:
        assert isinstance(movie, np.ndarray)
    assert plane.count_frames(inputs.movies["FOV_00"], inputs.metadata.imaging.fovs[0].shape) == 460
