"""Tables for a terminal say where results lie, and how sessions stand, and fit it."""

from types import SimpleNamespace

import pytest

from meso_assets.cli.status import _reasons, _table
from meso_assets.cli.tables import _places, in_width, terminal_width
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.runs.status.cells import AssetStatus, SessionCells, State


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (["alf/FOV_00", "alf/FOV_01", "alf/FOV_02", "suite2p/plane0", "suite2p/plane1", "suite2p/plane2"],
         "alf/FOV_00 … FOV_02, suite2p/plane0 … plane2"),
        (["alf/FOV_00", "alf/FOV_01", "reports/qc", "reports/figures"], "alf/FOV_00, FOV_01"),
        (["raw_imaging_data_00", "raw_imaging_data_01"], "raw_imaging_data_00, raw_imaging_data_01"),
        (["alf", "alf/FOV_00"], "alf, alf/FOV_00"),
        (["reports", "reports/session_movies"], "reports, reports/session_movies"),
        (["reports/qc"], "reports/qc"),
        ([], ""),
    ],
)  # fmt: skip
def test_folders_of_a_kind_are_summed_up_and_verdicts_are_named_only_where_they_are_all(folders, told):
    assert _places(f"{folder}/file.npy" for folder in folders) == told


LONG = "setting atlas_resolution_um: 10 → 25; mean_image_mlapdv has changed (3f2a91c0 → 91bc02d4)"


@pytest.mark.parametrize("width", [40, 80])
def test_a_reason_is_broken_between_words_below_what_it_is_about(width):
    told = in_width(LONG, width, head="SP035/2023-03-03/001  rois ")
    first, *others = told.splitlines()
    assert first == "SP035/2023-03-03/001  rois"
    assert all(line.startswith("    ") and len(line) <= width for line in others)
    assert " ".join(line.strip() for line in others) == LONG


def test_what_fits_or_goes_to_no_terminal_stays_on_one_line():
    assert in_width(LONG, None, head="rois ") == in_width(LONG, 200, head="rois ") == f"rois {LONG}"


def test_a_path_is_never_broken():
    path = f"/data/{'x' * 60}-y/file"
    assert path in in_width(f"in {path}", 30)


@pytest.fixture
def sessions():
    """One that is done but for a few results, with a long reason, and one of which nothing is made."""
    cells = {asset: AssetStatus(asset, State.DONE) for asset in CATALOGUE}
    cells["rois"] = AssetStatus("rois", State.STALE, LONG)
    cells["session_report"] = AssetStatus("session_report", State.STALE, LONG)
    cells["frame_times"] = AssetStatus("frame_times", State.FAILED, "no pulses")
    cells["reference_images"] = AssetStatus("reference_images", State.NOT_APPLICABLE)
    new = tuple(AssetStatus(asset, State.MISSING) for asset in CATALOGUE)
    return (
        SessionCells("SP035/2023-03-03/001", tuple(cells.values()), ("ignored, a hidden file: .DS_Store",)),
        SessionCells("SP036/2023-03-03/001", new, ()),
    )


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_status_of_sessions_fits_a_terminal_and_names_what_is_not_done(sessions, width):
    (reasons,) = _reasons(sessions, [("passed over", "SP035/2023-99-99", "there is no such date")], width)
    table = _table(sessions, width)
    assert max(map(len, [*table.splitlines(), *reasons.splitlines()])) <= width
    lines = " ".join(table.split())
    n_done = len(CATALOGUE) - 4
    assert f"SP035/2023-03-03/001 {n_done} done; 1 not applicable; failed: frame_times; stale: rois, session" in lines
    assert "SP036/2023-03-03/001 missing: all" in lines
    assert " ".join(reasons.split()).count(LONG) == 2


@pytest.mark.parametrize("width", [None, 1000])
def test_a_file_and_a_wide_terminal_get_the_table_with_a_column_for_each_result(sessions, width):
    table = _table(sessions, width).splitlines()
    rows = [line.split() for line in table if line.startswith("SP0")]
    assert [len(row) for row in rows] == [1 + len(CATALOGUE)] * 2
    assert rows[0][1 + list(CATALOGUE).index("rois")] == "stale"


def test_nothing_but_a_terminal_has_a_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert terminal_width() is None
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    assert terminal_width() == 80
