"""What assets are said to depend on, against what they open and need while they are made."""

import os
import sys

import dagster as dg
import pytest

from meso_assets.defs.made_with import changed_settings
from meso_assets.io.raw_inputs import RAW_INPUTS, read_by
from meso_assets.io.resources import Platform
from meso_assets.suite2p_work import Suite2pWork
from meso_core.progress import silent
from meso_core.simulate import preset, simulate_session


def test_an_asset_opens_no_raw_file_but_those_that_its_version_covers(tmp_path, make_settings, materialise):
    settings = make_settings(tmp_path)
    made = simulate_session(settings.root, preset("tiny"))
    session = Platform.open(settings).session(str(made.key))
    opened: set[str] | None = set()

    def watch(event, arguments):
        if event == "open" and opened is not None and not isinstance(arguments[0], int):
            opened.add(os.path.realpath(os.fsdecode(arguments[0])))

    sys.addaudithook(watch)  # for the rest of the process: it listens only as long as there is a set
    delivered = {os.path.realpath(session.path / file.path): file.path for file in session.raw_files()}
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in RAW_INPUTS:  # upstream comes first
            opened.clear()
            if asset == "motion_registered_frames":
                Suite2pWork(session, settings, {}).split(silent)
            else:
                assert materialise(instance, settings, session.key, [asset]).success
            found = {delivered[path] for path in opened if path in delivered}
            covered = {file.path for file in read_by(asset, session.raw_files())}
            # of a session without landmarks the location only looks which reference files there are
            assert found or asset == "mean_image_mlapdv", f"{asset} reads raw files"
            assert found <= covered, asset
    opened = None


@pytest.mark.parametrize(("faults", "told"), [((), 0), (("missing_metadata",), 2)])
def test_the_window_centre_of_the_settings_counts_only_where_metadata_were_made(
    faults, told, tmp_path, make_settings, materialise
):
    settings = make_settings(tmp_path)
    made = simulate_session(settings.root, preset("tiny"), faults=faults)
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialise(instance, settings, made.key, ["imaging_metadata"]).success
    manifest = Platform.open(settings).session(str(made.key)).manifest("imaging_metadata")
    other = settings.model_copy(update={"window_center_ml": 2.5, "window_center_ap": 1.5})
    assert len(changed_settings(manifest, other)) == told
    assert changed_settings(manifest, settings) == ()
