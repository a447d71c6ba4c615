"""A field of view without cells: an everyday matter, which leaves empty results and a verdict, and no error."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import one.alf.io as alfio
import pytest
from PIL import Image

from meso_core.imaging import Suite2pOverrides, fov_jobs, image_motion_registration, roi_detection, zip_plane
from meso_core.imaging.export import export_rois
from meso_core.imaging.figures import rois_figure
from meso_core.imaging.quality import detection_qc
from meso_core.qc import Verdict
from meso_core.storage.alf import write_fov
from tests.in_this_process import suite2p_may_warn

from .conftest import make_meta


@pytest.fixture(autouse=True)
def _quiet_torch() -> Iterator[None]:
    """Let pass what suite2p says, in the tests that run it in this process."""
    with suite2p_may_warn():
        yield


@pytest.mark.parametrize(
    "options", [{"threshold_scaling": 1e3}, {"extraction.snr_threshold": 0.999}], ids=["none found", "all too noisy"]
)
def test_a_field_without_cells_has_empty_datasets_and_a_verdict_that_fails(
    suite2p: Any, tmp_path: Path, options: dict[str, float]
) -> None:
    (tmp_path / "plane0").mkdir()
    movie = np.random.default_rng(0).normal(500, 50, (120, 64, 64)).astype(np.int16)
    movie.tofile(tmp_path / "plane0" / "data_raw.bin")
    job = fov_jobs(tmp_path, make_meta(64, 64, 1), overrides=Suite2pOverrides.parse(options))[0]
    image_motion_registration(job)
    found = roi_detection(job)
    assert (found.n_rois, found.n_cells, found.curated) == (0, 0, False)
    assert roi_detection(job).resumed
    datasets = export_rois(job.folder, identity="SP035/2023-03-03/001/FOV_00")
    shapes = {name: value.shape for name, value in datasets.items() if name != "mpciROITypes.names"}
    of_each_roi = {"mpciROIs.stackPos": (0, 3), "mpciROIs.masks": (0, 64, 64), "mpciROIs.neuropilMasks": (0, 64, 64)}
    assert shapes == {
        **dict.fromkeys(("mpci.ROIActivityF", "mpci.ROINeuropilActivityF", "mpci.ROIActivityDeconvolved"), (120, 0)),
        **dict.fromkeys(("mpciROIs.mpciROITypes", "mpciROIs.cellClassifier", "mpciROIs.uuids"), (0,)),
        **of_each_roi,
        "mpci.badFrames": (120,),
        "mpciMeanImage.images": (64, 64),
    }
    written = write_fov(tmp_path / "alf", datasets, where="FOV_00")
    for name in written:  # as a person opens them, with ONE
        assert alfio.load_file_content(tmp_path / "alf" / name) is not None, name
    zip_plane(job.folder, tmp_path / "zip" / "_suite2p_ROIData.raw.zip")
    with Image.open(io.BytesIO(rois_figure(job.folder).small)) as shown:
        assert min(shown.size) >= 100
    (verdict,) = detection_qc(found, 0)
    assert (verdict.verdict, verdict.value) == (Verdict.FAIL, 0)
    assert "lower detection.threshold_scaling" in verdict.message
