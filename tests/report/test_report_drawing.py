"""Outlines, images and plots: right where the truth is known, and the same bytes each time."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from meso_core.report.draw.images import contrast, grey_uri
from meso_core.report.draw.outlines import UNITS, area, outlines, roi_outlines, svg_path
from meso_core.report.draw.svg import plot


def outline(y, x, weight):
    return outlines([(y, x, weight)])[0]


def disc(radius, y=30.0, x=34.0, size=70):
    ys, xs = np.mgrid[:size, :size]
    inside = np.hypot(ys - y, xs - x) <= radius
    return ys[inside], xs[inside]


@pytest.mark.parametrize("radius", [4, 6, 9])
def test_the_outline_of_a_disc_is_a_circle_of_its_size(radius):
    y, x = disc(radius)
    (ring,) = outline(y, x, np.ones(len(y), np.float32))
    distance = np.hypot(*(ring - (34, 30)).T)
    assert np.ptp(distance) < 0.9, "smooth"
    assert abs(area(ring)) == pytest.approx(len(y), rel=0.12)
    assert (ring[0] == ring[-1]).all(), "closed"


def test_a_mask_with_holes_and_grain_gets_one_smooth_ring():
    rng = np.random.default_rng(0)
    y, x = disc(7)
    kept = rng.random(len(y)) < 0.75
    rings = outline(y[kept], x[kept], rng.uniform(0.6, 1.4, kept.sum()).astype(np.float32))
    outer = max(rings, key=lambda ring: abs(area(ring)))
    perimeter = np.hypot(*np.diff(outer, axis=0).T).sum()
    assert perimeter < 1.35 * 2 * np.pi * 7, "no pixel stairs"


def test_outlines_come_in_the_order_of_the_rois_and_an_empty_mask_has_none():
    import sparse

    masks = np.zeros((3, 60, 70), np.float32)
    for k, at in ((0, 15), (2, 45)):
        y, x = disc(5, y=at, x=20 + at)
        masks[k, y[y < 60], x[y < 60]] = 1
    rings = list(roi_outlines(sparse.GCXS.from_numpy(masks), 3))
    assert [len(found) for found in rings] == [1, 0, 1]
    np.testing.assert_allclose(rings[0][0].mean(axis=0), (35, 15), atol=0.6)
    np.testing.assert_allclose(rings[2][0].mean(axis=0), (65, 45), atol=0.6)


def test_a_path_says_the_same_as_its_ring():
    y, x = disc(6)
    (ring,) = outline(y, x, np.ones(len(y), np.float32))
    numbers = [int(n) for n in re.findall(r"-?\d+", svg_path([ring]))]
    points = np.cumsum(np.array(numbers).reshape(-1, 2), axis=0)
    np.testing.assert_allclose(points / UNITS - 0.5, ring[:-1], atol=0.06)


def test_contrast_spreads_what_is_between_the_percentiles_and_takes_what_is_not_finite():
    image = np.linspace(0, 1000, 10_000).reshape(100, 100)
    image[0, 0] = np.nan
    levels = contrast(image)
    assert (levels.min(), levels.max()) == (0, 255)
    assert levels[50, 50] == pytest.approx(128, abs=3)
    assert contrast(np.full((4, 4), np.nan)).max() == 0


def test_an_image_comes_back_from_the_page_nearly_as_it_was():
    import base64
    import io

    from PIL import Image

    ys, xs = np.mgrid[:64, :80]
    image = 100 + 50 * np.sin(ys / 9) * np.cos(xs / 7)
    uri = grey_uri(image)
    assert uri == grey_uri(image.copy())
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L"), float)
    assert np.abs(shown - contrast(image)).mean() < 6


def draw(figure):
    axes = figure.subplots()
    axes.plot([0, 1, 2], [3, 1, 2], color="#010203")
    axes.fill_between([0, 1], [0, 0], [1, 1], clip_on=True)
    axes.imshow(np.eye(4), extent=(0, 1, 0, 1))
    axes.set_xlabel('time (s) & "more" <of it>')


def test_a_plot_is_the_same_each_time_is_well_formed_and_names_nothing_outside():
    first, second = (plot(4, 2, draw, "p", 'a "plot" <of> things') for _ in range(2))
    assert first == second
    tree = ElementTree.fromstring(first)
    assert tree.attrib["aria-label"] == 'a "plot" <of> things'
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', first))
    ids = re.findall(r' id="([^"]+)"', first)
    assert used == set(ids)
    assert all(name.startswith("p-") for name in ids)
    assert "time (s)" in "".join(tree.itertext()), "text stays text"
    assert "#010203" not in first, "the page decides the colour of text"
    assert not re.findall(r'href="(?!#|data:)[^"]*"', first)


def test_two_plots_on_one_page_share_no_id():
    ids = [re.findall(r' id="([^"]+)"', plot(4, 2, draw, name, "x")) for name in ("a", "b")]
    assert not set(ids[0]) & set(ids[1])
