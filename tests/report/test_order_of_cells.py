"""Cells stand in the order of rastermap where it is installed, else of the first component; the page says which."""

import sys
from importlib.metadata import packages_distributions
from types import ModuleType

import numpy as np
import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_core.report.measure import order
from meso_core.report.measure.order import by_first_component, by_rastermap, in_order


def cells_of_a_sequence(n=80, bins=120):
    """Cells that are active one after the other, shuffled; also where each stands in the sequence."""
    rng = np.random.default_rng(3)
    place = rng.permutation(n)
    at = np.arange(bins) / bins
    active = np.exp(-((at - place[:, None] / n) ** 2) / 0.005) + 0.05 * rng.standard_normal((n, bins))
    return standardised(active), place


def standardised(active):
    spread = active.std(axis=1, keepdims=True)
    centred = active - active.mean(axis=1, keepdims=True)
    return (centred / np.where(spread > 0, spread, 1)).astype(np.float32)


class Backwards:
    """Stands in for rastermap: cells by their moment of activity, the last first; it uses numpy's one generator."""

    given: list = []  # noqa: RUF012

    def __init__(self, **chosen):
        self.chosen = chosen

    def fit(self, cells):
        np.random.seed(self.chosen["random_state"])
        self.given.append((self.chosen, cells.shape))
        self.isort = np.argsort(-cells.argmax(axis=1), kind="stable")
        return self


@pytest.fixture
def installed(monkeypatch):
    module = ModuleType("rastermap")
    module.Rastermap, Backwards.given = Backwards, []
    monkeypatch.setitem(sys.modules, "rastermap", module)
    monkeypatch.setattr(order, "has_rastermap", lambda: True)
    return Backwards


def test_without_rastermap_the_first_component_decides(monkeypatch):
    monkeypatch.setattr(order, "has_rastermap", lambda: False)
    cells, _ = cells_of_a_sequence()
    found = in_order(cells)
    assert found.cells.tolist() == by_first_component(cells).tolist()
    assert "first principal component" in found.told


@pytest.mark.parametrize("shape", [(260, 400), (500, 240)])
def test_the_first_component_of_many_cells_is_the_same_one_each_time(shape):
    n, bins = shape
    rng = np.random.default_rng(8)
    shared = np.outer(rng.standard_normal(n), np.sin(np.arange(bins) / 20))
    cells = standardised(shared + rng.standard_normal(shape))
    found = by_first_component(cells)
    assert found.tolist() == by_first_component(cells.copy()).tolist()
    left, _, _ = np.linalg.svd(cells.astype(np.float64), full_matrices=False)
    weights = left[:, 0] * (1 if left[:, 0].sum() > 0 else -1)
    assert (np.diff(weights[found]) < 1e-5).all(), "falling"
    assert by_first_component(np.zeros(shape, np.float32)).tolist() == list(range(n)), "none is active"


def test_with_it_its_order_counts_silent_cells_come_last_and_numpy_goes_on_as_before(installed):
    cells, place = cells_of_a_sequence()
    cells[[4, 40]] = 0
    before = np.random.get_state()[1].tolist()
    found = in_order(cells)
    assert np.random.get_state()[1].tolist() == before
    assert found.told.startswith("by rastermap")
    assert sorted(found.cells) == list(range(80))
    assert found.cells[-2:].tolist() == [4, 40]
    steps = np.diff(place[found.cells[:-2]])
    assert (np.sign(np.median(steps)) * steps > -4).all(), "one after the other, in one of the two directions"
    ((chosen, shape),) = installed.given
    assert shape == (78, 120)
    assert (chosen["random_state"], chosen["verbose"]) == (0, False)
    assert chosen["n_PCs"] < 78


@pytest.mark.parametrize(("n", "bins"), [(0, 120), (1, 120), (30, 120), (80, 20)])
def test_of_few_cells_or_little_time_it_is_not_asked(installed, n, bins):
    cells = standardised(np.random.default_rng(0).standard_normal((n, bins)))
    found = in_order(cells)
    assert found.cells.tolist() == by_first_component(cells).tolist()
    assert "needs more cells" in found.told
    assert installed.given == []


def test_its_version_and_whether_it_is_there_are_part_of_what_the_report_depends_on():
    assert "rastermap" in CATALOGUE["session_report"].packages


@pytest.mark.skipif("rastermap" in packages_distributions(), reason="rastermap is installed")
def test_a_folder_that_the_removal_of_rastermap_left_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "rastermap" / "__pycache__").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert not order.has_rastermap()


@pytest.mark.nightly
def test_rastermap_itself_finds_the_sequence_twice_the_same():
    pytest.importorskip("rastermap")
    cells, place = cells_of_a_sequence(120, 200)
    found = by_rastermap(cells)
    assert found.tolist() == by_rastermap(cells.copy()).tolist()
    assert abs(np.corrcoef(place[found], np.arange(120))[0, 1]) > 0.8
