"""What metadata hold: one picture, small whatever it shows."""

import re

import numpy as np
import pytest

from meso_assets.metadata import picture


@pytest.mark.parametrize("side", [96, 256, 512])
def test_the_picture_of_a_noisy_fov_takes_at_most_40_kb(side):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    noise = np.random.default_rng(side).gamma(2, 50, (side, side))
    figure.subplots().imshow(noise, cmap="gray", interpolation="nearest")
    (entry,) = picture(figure, "noise").values()
    (encoded,) = re.findall(r"base64,([^)]*)", entry.value)
    assert len(encoded) <= 40_000


def test_a_fovs_full_picture_becomes_small_in_metadata():
    import io

    from PIL import Image

    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (728, 832, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, format="png")
    (entry,) = picture(file.getvalue(), "areas").values()
    assert len(entry.value) <= 40_000 + 100
