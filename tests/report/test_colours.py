"""Fields, areas and ROIs have colours that people tell apart whatever their colour vision."""

import itertools
import re
from importlib.resources import files

import numpy as np
import pytest

from meso_core.report.draw.place import AREA_COLORS
from meso_core.report.draw.svg import SERIES

#: What red, green and blue light become to whom one kind of cones is missing (Machado et al. 2009, IEEE Trans Vis
#: Comput Graph 15, 1291, severity 1), in linear light.
VISION = {
    "usual": np.eye(3),
    "no red cones": np.reshape(
        [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998], (3, 3)
    ),
    "no green cones": np.reshape(
        [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881], (3, 3)
    ),
    "no blue cones": np.reshape(
        [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900], (3, 3)
    ),
}
#: Of sRGB: linear light to CIE XYZ.
XYZ = np.reshape(
    [0.4124564, 0.3575761, 0.1804375, 0.2126729, 0.7151522, 0.0721750, 0.0193339, 0.1191920, 0.9503041], (3, 3)
)
#: Distances in CIE L*a*b*: about 2 is just seen where two patches touch; thin lines apart from each other need more.
APART = 15


def linear(colour):
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(colour, vision):
    seen = XYZ @ np.clip(VISION[vision] @ linear(colour), 0, 1) / (XYZ @ np.ones(3))
    x, y, z = np.where(seen > (6 / 29) ** 3, np.cbrt(seen), seen / 3 * (29 / 6) ** 2 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def too_alike(colours, vision):
    pairs = itertools.combinations(colours, 2)
    return [(a, b) for a, b in pairs if np.linalg.norm(lab(a, vision) - lab(b, vision)) < APART]


def of_rois():
    css = (files("meso_core.report.page") / "templates" / "report.css").read_text(encoding="utf-8")
    return re.findall(r"--(?:cell|other|lit): (#\w{6});", css)


@pytest.mark.parametrize("vision", VISION)
def test_eight_fields_seven_areas_and_kinds_of_rois_are_told_apart_by_colour(vision):
    assert [len(set(colours)) for colours in (SERIES, AREA_COLORS, of_rois())] == [8, 7, 3]
    assert [too_alike(colours, vision) for colours in (SERIES, AREA_COLORS, of_rois())] == [[], [], []]


def test_red_and_green_of_one_lightness_would_be_found_too_alike():
    assert not too_alike(["#c81e1e", "#5f7d00"], "usual")
    assert too_alike(["#b8a800", "#e69f00"], "no red cones")
