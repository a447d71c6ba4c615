"""Each step of a run has needs, by its name; the names are those of the graphs."""

import pytest

from meso_assets.assets.suite2p import motion_registered_frames, rois
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.needs import STEPS, work_of_step
from meso_core.imaging import Work


@pytest.mark.parametrize("asset", [motion_registered_frames, rois], ids=lambda asset: asset.key.path[-1])
def test_the_steps_of_a_graph_are_those_that_needs_are_told_of(asset):
    assert {node.name for node in asset.node_def.nodes} == set(STEPS[asset.key.path[-1]])


def test_steps_of_fields_of_view_and_of_long_work_have_needs_of_their_own():
    assert work_of_step("motion_registered_frames.register_fov[FOV_03]") is Work.REGISTER
    assert work_of_step("rois.find_rois[FOV_00]") is Work.DETECT
    assert work_of_step("motion_registered_frames.split_pages") is Work.CUT
    assert work_of_step("imaging_frames_archive") is Work.ARCHIVE
    assert work_of_step("mean_image_mlapdv") is Work.LOCATE
    assert work_of_step("frame_times") is Work.SMALL
    assert work_of_step("session_qc") is Work.GATHER
    assert work_of_step("a_job_of_its_own") is Work.SMALL


def test_every_asset_has_needs():
    assert all(isinstance(work_of_step(name), Work) for name in CATALOGUE)
