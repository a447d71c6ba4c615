"""The picture of the frame clock."""

import dataclasses
import io

import numpy as np
import pytest

from meso_core.errors import MesoWarning
from meso_core.simulate import preset, simulate_session
from meso_core.timing import extract_frame_times, frame_interval_figure


@pytest.fixture(scope="module")
def surplus(tmp_path_factory):
    config = dataclasses.replace(preset("tiny"), write_movie=False, frames_per_bout=(3000, 500))
    made = simulate_session(
        tmp_path_factory.mktemp("f") / "Subjects", config, faults=("surplus_pulses", "missing_folder")
    )
    with pytest.warns(MesoWarning):
        return extract_frame_times(made.session_path)


def png(figure, dpi):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def test_the_small_picture_fits_into_a_materialisation(surplus):
    small = png(frame_interval_figure(surplus, "SP035/2023-03-03/001"), 70)
    assert small.startswith(b"\x89PNG")
    assert len(small) * 4 / 3 <= 40_000


def test_every_bout_is_shaded_and_surplus_pulses_are_marked(surplus):
    counted, intervals = frame_interval_figure(surplus).axes
    assert len(counted.patches) == len(surplus.found.edges) == 2
    assert counted.patches[0].get_facecolor() != counted.patches[1].get_facecolor(), "one has no folder"
    line, marked = counted.lines
    assert line.get_ydata()[-1] == surplus.pulses.size
    np.testing.assert_allclose(marked.get_xdata() * 60, surplus.pulses[-2:])
    assert "500 frames\n502 pulses" in [text.get_text() for text in counted.texts]
    assert sum(patch.get_height() for patch in intervals.patches) == 501


def test_the_same_result_is_drawn_to_the_same_bytes(surplus):
    assert png(frame_interval_figure(surplus), 70) == png(frame_interval_figure(surplus), 70)
