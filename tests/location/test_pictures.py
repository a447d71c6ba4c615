"""Pictures and checks of locations."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from meso_core.location import (
    Provenance,
    check_locations,
    dorsal_map,
    draw_dorsal,
    draw_fov,
    draw_inline,
    draw_slices,
    locate_fovs,
    roi_mlapdv,
)
from meso_core.location.atlas.loading import atlas_grid
from meso_core.location.draw.pictures import PROVENANCE_COLORS, AreaTable, borders
from meso_core.location.records import PointFitRecord
from meso_core.qc import Verdict


@pytest.fixture(scope="module")
def located(phantom, phantom_mesh):
    from tests.location.conftest import make_meta

    return locate_fovs(make_meta(fovs=((2.5, -2.0), (1.8, -2.9)), size=(0.7, 0.7)), phantom, phantom_mesh)


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)


def count_color(image, color):
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(image - wanted).sum(axis=-1) < 30).sum())


def test_the_dorsal_picture_shows_fovs_in_the_colour_of_their_provenance(located, phantom):
    for provenance in Provenance:
        picture = draw_dorsal(replace(located.locations, provenance=provenance), phantom)
        image = pixels(picture)
        counts = {p: count_color(image, PROVENANCE_COLORS[p]) for p in Provenance}
        assert max(counts, key=counts.__getitem__) is provenance
        assert provenance.name in picture.caption
        assert "PHANTOM" in picture.caption


def test_pictures_have_the_same_bytes_every_time(located, phantom):
    assert draw_dorsal(located.locations, phantom).png == draw_dorsal(located.locations, phantom).png
    assert draw_slices(located, phantom, 1).png == draw_slices(located, phantom, 1).png


def test_the_inline_picture_is_small_enough_for_metadata(located, phantom, allen_25, published_mesh):
    from tests.location.conftest import make_meta

    assert len(draw_inline(located.locations, phantom).png) * 4 / 3 <= 40_000
    real = locate_fovs(make_meta(), allen_25, published_mesh)
    assert len(draw_inline(real.locations, allen_25).png) * 4 / 3 <= 40_000


def test_a_fovs_picture_shows_borders_rois_and_how_to_read_it(located, phantom):
    ids = located.brain_location_ids[0]
    image = np.random.default_rng(0).gamma(2, 50, ids.shape)
    plain = draw_fov(located.locations.fovs[0], image, ids, phantom)
    positions = np.c_[np.random.default_rng(1).integers(0, 40, (30, 2)), np.zeros(30, int)]
    _, roi_ids = roi_mlapdv(positions, located.mlapdv[0], ids)
    with_rois = draw_fov(located.locations.fovs[0], image, ids, phantom, stack_pos=positions, roi_ids=roi_ids)
    assert with_rois.png != plain.png
    assert "Borders" in plain.caption
    assert plain.name == "FOV_00_areas"


def test_areas_are_cortex_without_its_layers(phantom):
    table = AreaTable.of(phantom)
    layers = np.array([593, 821, 721, 778, 33])  # VISp
    assert {table.acronyms[a] for a in table.of_ids(layers)} == {"VISp"}
    assert table.of_ids(np.array([0]))[0] == 0


def test_borders_lie_between_areas():
    areas = np.zeros((4, 6), dtype=np.intp)
    areas[:, 3:] = 5
    np.testing.assert_array_equal(np.flatnonzero(borders(areas)[0]), [2])


def test_the_dorsal_map_is_the_first_area_of_every_column(phantom):
    above = dorsal_map(atlas_grid(phantom))
    label = np.asarray(phantom.label)
    rng = np.random.default_rng(3)
    for ap, ml in zip(rng.integers(0, 264, 300), rng.integers(0, 228, 300), strict=True):
        ids = np.abs(phantom.regions.id[label[ap, ml]])
        area = np.flatnonzero((ids != 0) & (ids != 997))
        i, j = ml, 263 - ap
        if len(area):
            assert above.ids[i, j] == ids[area[0]]
            assert above.dv_um[i, j] == pytest.approx(332 - 50 * area[0])
        else:
            assert np.isnan(above.dv_um[i, j])


def test_checks_pass_for_a_sound_session_and_tell_the_phantom(located):
    results = {(r.check, r.fov): r for r in check_locations(located.locations)}
    assert results["atlas_is_anatomy", None].verdict is Verdict.WARNING
    assert all(r.verdict is Verdict.PASS for k, r in results.items() if k[0] != "atlas_is_anatomy")
    assert {c for c, _ in results} == {
        "atlas_is_anatomy",
        "fov_inside_brain",
        "fov_size",
        "fov_number_of_areas",
        "fov_near_window",
    }


def verdict_of(locations, check):
    return max(r.verdict for r in check_locations(locations) if r.check == check)


def test_checks_tell_what_is_wrong(located, phantom, phantom_mesh):
    from tests.location.conftest import make_meta

    outside = locate_fovs(make_meta(fovs=((6.6, -2.0),), size=(0.7, 0.6)), phantom, phantom_mesh).locations
    assert verdict_of(outside, "fov_inside_brain") is Verdict.FAIL
    assert verdict_of(outside, "fov_near_window") > Verdict.PASS
    fovs = located.locations.fovs
    doubled = replace(located.locations, fovs=(replace(fovs[0], size_mm=(0.35, 0.35)), *fovs[1:]))
    assert verdict_of(doubled, "fov_size") is Verdict.WARNING
    fit = PointFitRecord("affine", ("bregma", "vessel"), (20.0, 400.0))
    bad = replace(located.locations, fit=fit)
    assert verdict_of(bad, "points_fit") is Verdict.WARNING
    message = next(r.message for r in check_locations(bad) if r.check == "points_fit")
    assert "vessel" in message
