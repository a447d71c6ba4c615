"""Tables for a terminal say where results lie."""

import pytest

from meso_assets.cli.tables import _places


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
