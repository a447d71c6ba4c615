"""Pictures: at most 8 kB in metadata whatever they show, full ones for files, scale bars."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from meso_core.pictures import INLINE_BYTES, full_png, grey_png, inline_picture, media_type, new_figure, scale_bar


def png_of(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 512),
    columns=st.integers(1, 1200),
    channels=st.sampled_from([None, 3, 4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_noise_is_too_large_to_be_shown(rows, columns, channels, seed):
    shape = (rows, columns) if channels is None else (rows, columns, channels)
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    small = inline_picture(png_of(noise))
    assert len(base64.b64encode(small)) <= INLINE_BYTES
    with Image.open(io.BytesIO(small)) as picture:
        assert picture.size[0] * rows == pytest.approx(picture.size[1] * columns, rel=0.1, abs=columns + rows)


def test_noise_of_a_whole_fov_stays_recognisable():
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    noise[:, 256:] //= 4
    small = inline_picture(png_of(noise))
    assert len(base64.b64encode(small)) <= INLINE_BYTES
    with Image.open(io.BytesIO(small)) as picture:
        assert min(picture.size) >= 96, "the room is used"
        shown = np.asarray(picture.convert("L")).astype(float)
    left, right = np.array_split(shown, 2, axis=1)
    assert left.mean() > 3 * right.mean()


def test_a_picture_tells_what_kind_of_file_it_is():
    noise = np.random.default_rng(1).integers(0, 256, (300, 300), dtype=np.uint8)
    for png in (png_of(np.zeros((20, 30), np.uint8)), png_of(noise)):
        small = inline_picture(png)
        with Image.open(io.BytesIO(small)) as picture:
            assert media_type(small) == f"image/{picture.format.lower()}"


def test_a_graph_keeps_all_its_pixels():
    figure = new_figure(9, 3.4)
    figure.subplots().plot(np.cumsum(np.random.default_rng(2).normal(size=60)), color="C1")
    with Image.open(io.BytesIO(inline_picture(figure))) as picture:
        assert picture.size == (810, 306)


def test_what_is_small_enough_is_left_alone():
    small = png_of(np.zeros((20, 30), np.uint8))
    assert inline_picture(small) == small


def test_a_figure_is_drawn_to_the_same_bytes_every_time():
    def draw():
        figure = new_figure(6, 5)
        figure.subplots().imshow(np.random.default_rng(3).normal(size=(512, 512)), cmap="gray", interpolation="nearest")
        return inline_picture(figure), full_png(figure)

    small, full = draw()
    assert len(base64.b64encode(small)) <= INLINE_BYTES < len(full)
    assert draw() == (small, full)
    with Image.open(io.BytesIO(full)) as picture:
        assert picture.size == (900, 750)
        assert "Software" not in picture.info, "another version of matplotlib draws the same file"


def test_a_grey_picture_has_a_pixel_for_a_pixel_and_stands_out_from_outliers():
    image = np.tile(np.linspace(100, 200, 50), (40, 1))
    image[0, 0] = 1e6
    with Image.open(io.BytesIO(grey_png(image))) as picture:
        shown = np.asarray(picture.convert("L")).astype(int)
    assert shown.shape == (40, 50)
    assert shown[5, 0] == 0
    assert shown[5, -1] > 240
    assert (np.diff(shown[5]) >= 0).all()


@given(um_per_px=st.floats(0.2, 20), columns=st.integers(32, 2048))
@settings(max_examples=30, deadline=None)
def test_a_scale_bar_has_the_length_that_it_tells(um_per_px, columns):
    axes = new_figure(3, 3).subplots()
    scale_bar(axes, um_per_px, (columns, columns))
    (bar,), (text,) = axes.lines, axes.texts
    drawn_um = np.ptp(bar.get_xdata()) * um_per_px
    number, unit = text.get_text().split()
    assert unit == "µm"
    assert drawn_um == pytest.approx(float(number))
    assert number.rstrip("0") in ("1", "2", "5")
    assert float(number) == 1 or drawn_um <= columns * um_per_px / 5
