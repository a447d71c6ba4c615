"""A movie on a server is judged as one on a disk is, of a few hundred of its frames."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from movie_session import report_inputs

from meso_core.errors import InputFileError
from meso_core.imaging.fovs import plane
from meso_core.report import FarMovie, judge_session, make_report
from meso_core.report.frames import FarFrames, opened_movie
from meso_core.storage.files.hashing import hash_file
from meso_core.storage.remote import open_root, stat
from meso_core.storage.remote.transfers.ranges import ranged
from meso_core.storage.remote.transfers.transfer import upload


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return report_inputs(tmp_path_factory.mktemp("far"), frames_per_bout=(400, 60))


def noting(file, name):
    """Note from where on the file is read."""
    evenly, file.name, file.starts = file.read_evenly, name, set()

    def noted(start, *rest):
        file.starts.add(start)
        return evenly(start, *rest)

    file.read_evenly = noted
    return file


def far(inputs, fetched):
    """The same inputs, their movies on a server in memory; ``fetched`` gets the files that were read."""
    root = open_root(f"memory://frames-{id(inputs)}")

    def on_server(path, name):
        upload(root, path, name, content=hash_file(path))
        listed = stat(root, name)

        @contextmanager
        def opened():
            with ranged(root, name, listed) as file:
                fetched.append(noting(file, name))
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


def test_the_page_shows_the_light_of_a_movie_on_a_server_from_frames_that_its_verdicts_are_made_from(inputs):
    judged, shown = [], []
    verdicts = {"session_qc": judge_session(far(inputs, judged))}
    there = make_report(replace(far(inputs, shown), verdicts=verdicts)).html.decode()
    here = make_report(replace(inputs, verdicts=verdicts)).html.decode()
    own, other = (page[page.index('<section id="photons"') :].partition("</section>")[0] for page in (there, here))
    for figure in ("Variance against mean", "Light over time"):
        assert f'aria-label="{figure}: FOV_00 ' in own
    assert own == other, "gain, photons, saturation, bleaching: figures, table and verdicts"
    for column in ("crisper by registration", "likeness of both ends"):
        assert cells_of(there, column) == cells_of(here, column)
        assert "–" not in cells_of(there, column)
    assert "No residual flow" in there
    assert "No residual flow" not in here
    assert len(shown) == len(inputs.movies), "each is opened once"
    for before, movie in zip(judged, sorted(shown, key=lambda one: one.name), strict=True):
        assert before.name == movie.name
        assert movie.starts <= before.starts, "no other frame"
        assert 2 < len(movie.starts) <= 96, "48 pairs"


def cells_of(page, head):
    """Values of a column of a table."""
    table = next(part for part in page.split("<table>") if f">{head}" in part.partition("</thead>")[0])
    place = [cell.partition("<")[0] for cell in table.split('<th scope="col">')[1:]]
    (column,) = (k for k, name in enumerate(place) if name.startswith(head))
    rows = table.partition("<tbody>")[2].partition("</tbody>")[0].split("</tr>")[:-1]
    return [row.split("<td>")[column].partition("<")[0] for row in rows]


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
