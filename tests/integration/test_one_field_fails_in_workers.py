"""The same from a terminal, with steps and workers in processes of their own: one field fails, a run again makes it."""

import json
import shutil

import pytest

from meso_assets.io.resources import Platform
from tests.integration.conftest import run_meso
from tests.integration.three_fields import FRAMES, KEY, OF_FIELDS, ROIS, files_of, mark_bad, of_field

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")]


@pytest.mark.timeout(1500)
def test_a_field_fails_alone_and_the_next_run_makes_the_session_whole(
    three_depths, three_done, tmp_path, make_settings
):
    settings = make_settings(tmp_path)
    shutil.copytree(three_depths, settings.root)
    session = Platform.open(settings).session(KEY)
    bring_back = mark_bad(session.path, 2)
    ran = run_meso(settings, "run", KEY, timeout=900)
    assert ran.returncode == 1, ran.stdout[-2000:]
    assert f"{FRAMES}: FOV_02 missing: " in ran.stderr
    assert "A run again makes those that are missing." in ran.stderr
    assert "made, partial" in ran.stdout
    for asset in OF_FIELDS:
        whole = files_of(three_done, asset)
        assert files_of(session, asset) == {p: c for p, c in whole.items() if p not in of_field(whole, 2)}
    cells = {cell["asset"]: cell for cell in json.loads(run_meso(settings, "status", "--json").stdout)}
    assert cells[FRAMES]["state"] == "partial"
    assert cells[ROIS]["why"] == f"without FOV_02, which {FRAMES} lacks"
    bring_back()
    ran = run_meso(settings, "run", "--failed", timeout=900)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert ran.stdout.count("kept from an earlier run") == 2, "the other two"
    for asset in OF_FIELDS:
        assert session.manifest(asset).data_version == three_done.manifest(asset).data_version, "the same bytes"
