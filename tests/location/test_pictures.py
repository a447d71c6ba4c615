"""Pictures and checks of locations."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from meso_core.errors import LocationError
from meso_core.location import Provenance, check_locations, draw_locations, locate_fovs, locate_rois
from meso_core.location.draw import pictures
from meso_core.location.draw.areas import AreaTable, borders
from meso_core.location.draw.pictures import PROVENANCE_COLORS
from meso_core.location.records import PointFitRecord
from meso_core.pictures import INLINE_BYTES
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


def with_provenance(located, provenance):
    return replace(located, locations=replace(located.locations, provenance=provenance))


def test_the_dorsal_pictures_show_fovs_in_the_colour_of_their_provenance(located, phantom):
    for provenance in Provenance:
        drawn = draw_locations(with_provenance(located, provenance), phantom)
        for picture in (drawn.inline, drawn.full[0]):
            image = pixels(picture)
            counts = {p: count_color(image, PROVENANCE_COLORS[p]) for p in Provenance}
            assert max(counts, key=counts.__getitem__) is provenance
        assert provenance.name in drawn.full[0].caption
        assert "PHANTOM" in drawn.full[0].caption


def test_a_session_is_shown_from_above_and_in_slices_through_each_fov(located, phantom):
    drawn = draw_locations(located, phantom)
    assert [picture.name for picture in drawn.full] == ["fovs_dorsal", "FOV_00_slices", "FOV_01_slices"]
    orange = [count_color(pixels(picture), "#d95f02") for picture in drawn.full[1:]]
    assert min(orange) > 100, "the pixels of the FOV itself"


def test_pictures_have_the_same_bytes_every_time(located, phantom):
    assert draw_locations(located, phantom) == draw_locations(located, phantom)


def test_the_brain_from_above_is_mapped_once_per_session(located, phantom, monkeypatch):
    mapped = []

    def count(grid):
        mapped.append(grid)
        return from_above(grid)

    from_above = pictures.dorsal_map
    monkeypatch.setattr(pictures, "dorsal_map", count)
    drawn = draw_locations(located, phantom)
    assert len(mapped) == 1
    again = draw_locations(replace(located, dorsal=from_above(mapped[0])), phantom)
    assert len(mapped) == 1, "a map that locating has made is used"
    assert again == drawn


def test_the_inline_picture_is_small_enough_for_metadata(located, phantom, allen_25, published_mesh):
    from tests.location.conftest import make_meta

    assert len(draw_locations(located, phantom).inline.png) * 4 / 3 <= INLINE_BYTES
    real = locate_fovs(make_meta(), allen_25, published_mesh)
    assert len(draw_locations(real, allen_25).inline.png) * 4 / 3 <= INLINE_BYTES


@pytest.fixture(scope="module")
def cells(located):
    """Datasets of ROIs, as they are published: 30 in each FOV."""
    rng = np.random.default_rng(1)
    return {
        f"FOV_{fov:02d}": {
            "mpciROIs.stackPos": np.c_[rng.integers(0, 40, (30, 2)), np.zeros(30, int)],
            "mpciMeanImage.images": rng.gamma(2, 50, ids.shape),
        }
        for fov, ids in located.brain_location_ids.items()
    }


@pytest.mark.parametrize("provenance", [Provenance.ESTIMATE, Provenance.HISTOLOGY])
def test_rois_get_the_place_of_their_pixel_under_the_name_of_its_provenance(provenance, located, cells, phantom):
    projection = with_provenance(located, provenance)
    found = locate_rois(projection.locations, cells, projection.datasets, phantom)
    suffix = "_estimate" if provenance is Provenance.ESTIMATE else ""
    assert list(found.datasets) == ["FOV_00", "FOV_01"]
    for fov, datasets in enumerate(found.datasets.values()):
        y, x, _ = cells[f"FOV_{fov:02d}"]["mpciROIs.stackPos"].T
        assert list(datasets) == [f"mpciROIs.mlapdv{suffix}", f"mpciROIs.brainLocationIds_ccf_2017{suffix}"]
        np.testing.assert_array_equal(datasets[f"mpciROIs.mlapdv{suffix}"], located.mlapdv[fov][y, x])
        ids = datasets[f"mpciROIs.brainLocationIds_ccf_2017{suffix}"]
        np.testing.assert_array_equal(ids, located.brain_location_ids[fov][y, x])


def test_a_fovs_picture_shows_its_rois_and_how_to_read_it(located, cells, phantom):
    found = locate_rois(located.locations, cells, located.datasets, phantom).pictures
    assert [picture.name for picture in found.full] == ["FOV_00_areas", "FOV_01_areas"]
    assert "borders" in found.full[0].caption
    assert len(found.inline.png) * 4 / 3 <= INLINE_BYTES
    nobody = {fov: datasets | {"mpciROIs.stackPos": np.empty((0, 3), int)} for fov, datasets in cells.items()}
    empty = locate_rois(located.locations, nobody, located.datasets, phantom)
    assert empty.mlapdv[0].shape == (0, 3)
    with_rois, without = (count_color(pixels(p.full[0]), "#1f78b4") for p in (found, empty.pictures))
    assert with_rois > 100 > without


def test_what_is_missing_for_rois_is_named_with_what_to_run(located, cells, phantom):
    with pytest.raises(LocationError, match=r"FOV_01: expected mpciROIs.stackPos, found no datasets. Run rois again"):
        locate_rois(located.locations, {"FOV_00": cells["FOV_00"]}, located.datasets, phantom)
    histology = with_provenance(located, Provenance.HISTOLOGY).locations
    with pytest.raises(LocationError, match=r"mlapdv, found .*mlapdv_estimate. Run mean_image_mlapdv again"):
        locate_rois(histology, cells, located.datasets, phantom)


def test_areas_are_cortex_without_its_layers(phantom):
    table = AreaTable.of(phantom)
    layers = np.array([593, 821, 721, 778, 33])  # VISp
    assert {table.acronyms[a] for a in table.of_ids(layers)} == {"VISp"}
    assert table.of_ids(np.array([0]))[0] == 0


def test_borders_lie_between_areas():
    areas = np.zeros((4, 6), dtype=np.intp)
    areas[:, 3:] = 5
    np.testing.assert_array_equal(np.flatnonzero(borders(areas)[0]), [2])


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
