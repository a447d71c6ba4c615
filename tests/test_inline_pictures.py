"""Pictures that travel in metadata: 40 kB, whatever they show."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from meso_core.pictures import INLINE_BYTES, inline_png


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
    small = inline_png(png_of(noise))
    assert len(base64.b64encode(small)) <= INLINE_BYTES
    with Image.open(io.BytesIO(small)) as picture:
        assert picture.size[0] * rows == pytest.approx(picture.size[1] * columns, rel=0.1, abs=columns + rows)


def test_noise_of_a_whole_fov_stays_recognisable():
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    noise[:, 256:] //= 4
    small = inline_png(png_of(noise))
    assert len(base64.b64encode(small)) <= INLINE_BYTES
    with Image.open(io.BytesIO(small)) as picture:
        assert min(picture.size) >= 128, "the room is used"
        shown = np.asarray(picture.convert("L")).astype(float)
    left, right = np.array_split(shown, 2, axis=1)
    assert left.mean() > 3 * right.mean()


def test_what_is_small_enough_is_left_alone():
    small = png_of(np.zeros((20, 30), np.uint8))
    assert inline_png(small) == small


def test_a_figure_is_drawn_to_the_same_bytes_every_time():
    from matplotlib.figure import Figure

    def draw():
        figure = Figure(figsize=(6, 6), layout="constrained")
        figure.subplots().imshow(np.random.default_rng(3).normal(size=(512, 512)), cmap="gray", interpolation="nearest")
        return inline_png(figure)

    first = draw()
    assert len(base64.b64encode(first)) <= INLINE_BYTES
    assert draw() == first
