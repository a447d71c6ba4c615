"""A field of view that has far fewer cells than its neighbours is told; chance, size and depth are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meso_core.imaging import DetectionResult, detection_qc, fields_qc
from meso_core.imaging.quality import FEW_CELLS, area_mm2
from meso_core.qc import Verdict
from meso_core.scanimage import parse_imaging_metadata

from .conftest import make_meta


def told(*cells: int, areas: tuple[float, ...] | None = None) -> list[str]:
    """FOVs of these numbers of cells that are told."""
    names = [f"FOV_{i:02d}" for i in range(len(cells))]
    sizes = dict(zip(names, areas or [1.0] * len(cells), strict=True))
    found = fields_qc(dict(zip(names, cells, strict=True)), sizes)
    assert all((one.verdict is Verdict.WARNING) is (one.fov is not None) for one in found)
    assert len(found) == 1 or all(one.fov for one in found), "one verdict where all is well"
    return [one.fov for one in found if one.fov]


def test_the_field_whose_cells_were_taken_for_too_large_is_told_with_its_neighbours() -> None:
    (found,) = fields_qc({"FOV_00": 120, "FOV_01": 127, "FOV_02": 16}, dict.fromkeys(("FOV_00", "FOV_01", "FOV_02"), 1))
    assert (found.check, found.verdict, found.fov, found.value) == ("fields_agree", Verdict.WARNING, "FOV_02", 16)
    assert found.threshold == 40, "a third of 120"
    assert found.message.startswith("FOV_02 has 16 cells, its neighbours 120 and 127: ")
    assert "spatial_scale" in found.message


@pytest.mark.parametrize(
    ("cells", "few"),
    [
        ((120, 60, 90), []),  # depths and areas of the brain
        ((120, 127), []),
        ((7,), []),  # none to compare with
        ((0, 0, 0), []),
        ((3, 9, 8), []),  # chance
        ((0, 9, 8), []),
        ((0, 12, 14), ["FOV_00"]),
        ((16, 120), ["FOV_00"]),
        ((16, 17, 120), []),  # which of them is wrong is not known
        ((16, 17, 120, 120, 127), ["FOV_00", "FOV_01"]),
    ],
)
def test_what_differs_by_a_little_or_by_chance_is_not_told(cells: tuple[int, ...], few: list[str]) -> None:
    assert told(*cells) == few


def test_a_small_field_may_have_few_cells() -> None:
    assert told(16, 120, 127, areas=(0.13, 1.0, 1.0)) == []
    assert told(16, 16, 16, areas=(1.0, 0.1, 0.1)) == ["FOV_00"]


@pytest.mark.parametrize("unknown", [0.0, float("nan")])
def test_where_areas_are_not_known_the_numbers_themselves_are_compared(unknown: float) -> None:
    assert told(16, 120, 127, areas=(unknown, 1.0, 1.0)) == ["FOV_00"]
    assert told(60, 120, 127, areas=(unknown, 1.0, 1.0)) == []


@given(mean=st.integers(1, 400), seed=st.integers(0, 2**32 - 1))
def test_fields_of_one_density_are_told_in_few_sessions_of_many(mean: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = [told(*map(int, rng.poisson(mean, 8))) for _ in range(40)]
    assert sum(map(bool, times)) <= 4


@given(st.lists(st.integers(0, 500), min_size=1, max_size=9))
def test_no_field_with_a_third_of_the_fullest_is_ever_told(cells: list[int]) -> None:
    for fov in told(*cells):
        assert cells[int(fov[4:])] < FEW_CELLS * max(cells)


def test_the_area_is_that_which_the_corners_span() -> None:
    fov = parse_imaging_metadata(make_meta(64, 64, 1)).fovs[0]
    tl, tr, bl, _ = fov.mm.as_array()
    assert area_mm2(fov) == pytest.approx(float(np.linalg.norm(tr - tl) * np.linalg.norm(bl - tl)), rel=1e-6)
    assert area_mm2(fov) > 0


@pytest.mark.parametrize(
    ("n_rois", "n_cells", "area", "verdict"),
    [
        (400, 120, 0.49, Verdict.PASS),
        (400, 10, 0.49, Verdict.PASS),
        (400, 9, 0.49, Verdict.WARNING),  # a handful, as in the dark
        (30, 4, 0.048, Verdict.PASS),  # of a small field
        (30, 3, 0.048, Verdict.WARNING),
        (30, 1, 0.004, Verdict.PASS),
        (30, 0, 0.004, Verdict.WARNING),
        (30, 1, float("nan"), Verdict.PASS),
        (0, 0, 0.49, Verdict.FAIL),
    ],
)
def test_a_handful_of_cells_asks_for_a_look_and_no_roi_at_all_fails(
    n_rois: int, n_cells: int, area: float, verdict: Verdict
) -> None:
    (found,) = detection_qc(DetectionResult(Path("plane0"), n_rois, n_cells, False, False), 0, area)
    assert (found.check, found.value, found.verdict) == ("cells_found", n_cells, verdict)
