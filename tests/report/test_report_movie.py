"""The movie beside the page: raw frames and registered ones of the same moments, small, the same each time."""

import io
from dataclasses import replace

import av
import movie_session
import numpy as np
import pytest

from meso_core.imaging.fovs import plane
from meso_core.report import make_report
from meso_core.report.draw.movie import side_by_side, webm
from meso_core.report.measure.motion import read_motion
from meso_core.report.measure.stretch import N_FRAMES, liveliest, smaller
from meso_core.scanimage import bin_per_plane


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return movie_session.report_inputs(tmp_path_factory.mktemp("movie"))


@pytest.fixture(scope="module")
def report(inputs):
    return make_report(inputs)


def frames_of(content):
    with av.open(io.BytesIO(content)) as container:
        (stream,) = container.streams.video
        rate = float(stream.average_rate)
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(stream)]), rate


def alike(a, b):
    return np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1]


def test_left_is_what_the_tifs_hold_and_right_is_what_was_registered(inputs, report, tmp_path):
    session = next(iter(inputs.raw_tifs.values()))[0].parents[1]
    split = bin_per_plane(session, inputs.metadata.imaging, tmp_path)
    assert sorted(report.movies) == [f"session_movies/{name}.webm" for name in inputs.fov_names]
    for fov, raw in zip(inputs.metadata.imaging.fovs, split, strict=True):
        shown, rate = frames_of(report.movies[f"session_movies/{fov.name}.webm"])
        motion = read_motion(inputs.planes[fov.name])
        first, last = liveliest(motion, (0, 200, 260))
        assert (len(shown), rate) == (N_FRAMES, 15)
        assert first <= 100
        assert last >= 140, "all of the stretch in which it moved"
        sides = plane.open_frames(raw.path, fov.shape), plane.open_frames(inputs.movies[fov.name], fov.shape)
        wanted = side_by_side(*(np.asarray(movie[first:last], np.float32) for movie in sides))
        assert wanted.shape == shown.shape
        lit = [k for k in range(N_FRAMES) if wanted[k].std() > 20]
        assert len(lit) > 100, "the simulator leaves some frames without light"
        for columns in (slice(None, fov.nx), slice(-fov.nx, None)):
            own = [alike(shown[k][:, columns], wanted[k][:, columns]) for k in lit]
            assert np.median(own) > 0.9
        moved = [k for k in lit if np.hypot(motion.y[k + first], motion.x[k + first]) > 3]
        straight = [alike(shown[k][:, : fov.nx], wanted[k][:, : fov.nx]) for k in moved]
        crossed = [alike(shown[k][:, : fov.nx], wanted[k][:, -fov.nx :]) for k in moved]
        assert np.median(straight) > np.median(crossed) + 0.05, "what moved is seen on the left alone"


def test_equal_inputs_give_equal_movies_that_are_small(inputs, report):
    again = make_report(inputs)
    assert again.movies == report.movies
    assert again.html == report.html
    noise = np.random.default_rng(0).integers(0, 256, (N_FRAMES, 300, 604), np.uint8)
    assert len(webm(noise)) < 5e6, "the worst there can be"


def test_large_fields_are_shown_smaller_and_small_ones_as_they_are():
    frames = np.random.default_rng(0).normal(size=(2, 513, 400)).astype(np.float32)
    found = smaller(frames)
    assert found.shape == (2, 256, 200)
    np.testing.assert_allclose(found[1, 3, 5], frames[1, 6:8, 10:12].mean(), rtol=1e-5)
    np.testing.assert_array_equal(smaller(frames[:, :96, :90]), frames[:, :96, :90])


def test_the_stretch_is_of_one_bout_and_the_one_that_moved_most(inputs):
    motion = read_motion(inputs.planes["FOV_00"])
    first, last = liveliest(motion, (0, 110, 260))
    assert (first, last) == (110, 260)
    assert liveliest(motion, (0, 1, 1)) == (0, 0)
    still = replace(motion, y=np.zeros(260), x=np.zeros(260))
    assert liveliest(still, (0, 200, 260)) == (0, N_FRAMES)


def test_the_page_leads_to_the_movies_and_says_why_there_is_none(inputs, report):
    page = report.html.decode()
    for path in report.movies:
        assert f'src="{path}"' in page
        assert f'<a href="{path}">' in page
    assert page.count('preload="none"') == len(report.movies), "nothing is fetched before it is asked for"
    gone = make_report(replace(inputs, raw_tifs={}, no_raw="3 of 3 raw tifs are gone, their archive holds them"))
    assert gone.movies == {}
    assert "No movie: 3 of 3 raw tifs are gone, their archive holds them." in gone.html.decode()
    assert "<video" not in gone.html.decode()
    (bout, tifs), *others = inputs.raw_tifs.items()
    damaged = make_report(replace(inputs, raw_tifs={bout: tifs[:1], **dict(others)}))
    assert damaged.movies == {}
    assert "expected one page of each channel in its tifs" in damaged.html.decode()


def test_movies_stay_byte_for_byte_where_the_tifs_are_gone_and_so_does_the_page(inputs, report, tmp_path):
    kept = {}
    for path, content in report.movies.items():
        file = tmp_path / path.rpartition("/")[2]
        file.write_bytes(content)
        kept[file.stem] = file
    without_tifs = replace(inputs, raw_tifs={}, no_raw="the raw tifs are gone", kept_movies=kept)
    found = make_report(without_tifs)
    assert found.movies == report.movies
    assert found.html == report.html
    kept["FOV_00"].write_bytes(b"no movie")
    damaged = make_report(without_tifs)
    assert sorted(damaged.movies) == [f"session_movies/{name}.webm" for name in sorted(kept)[1:]]
    assert "expected a WebM movie" in damaged.html.decode()
    del kept["FOV_00"]
    assert "the raw tifs are gone" in make_report(without_tifs).html.decode()


def test_what_is_told_of_registered_movies_is_on_the_page(inputs, report):
    page = report.html.decode()
    assert 'aria-label="Residual flow over time' in page
    for column in ("crisper by registration, ×", "residual flow, µm", "likeness of both ends"):
        assert f">{column}</th>" in page
    without = make_report(replace(inputs, movies={}, no_movies="the movies are elsewhere")).html.decode()
    assert 'aria-label="Residual flow over time' not in without
    assert "No movie: the movies are elsewhere." in without


def test_bleed_through_is_told_where_there_is_a_second_channel(inputs, report, tmp_path):
    assert "bleed-through" not in report.html.decode()
    second = {}
    for fov in inputs.metadata.imaging.fovs:
        own = plane.open_frames(inputs.movies[fov.name], fov.shape)
        second[fov.name] = tmp_path / f"{fov.name}.bin"
        (own // 4).astype(np.int16).tofile(second[fov.name])
    page = make_report(replace(inputs, second_movies=second)).html.decode()
    table = page[page.index(">bleed-through, %</th>") :].partition("</table>")[0]
    shares = [row.rpartition("<td>")[2].partition("</td>")[0] for row in table.split("</tr>")[1:] if "<td>" in row]
    assert [float(share) for share in shares] == pytest.approx([25] * 3, abs=1)
