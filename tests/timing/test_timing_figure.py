"""The picture of the frame clock."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from meso_core.errors import MesoWarning
from meso_core.pictures import INLINE_FILE_BYTES, inline_picture
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


def test_the_picture_travels_in_metadata_at_its_full_size(surplus):
    """It need not be made smaller to fit, so its small print stays legible."""
    figure = frame_interval_figure(surplus, "SP035/2023-03-03/001")
    png = inline_picture(figure)
    assert len(png) <= INLINE_FILE_BYTES
    with Image.open(io.BytesIO(png)) as shown:
        width, height = figure.get_size_inches()
        assert shown.width / shown.height == pytest.approx(width / height, rel=0.01)
        assert shown.width >= 80 * width, "fewer than 80 pixels per inch"


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
    assert inline_picture(frame_interval_figure(surplus)) == inline_picture(frame_interval_figure(surplus))
