"""A session folder in, ALF and suite2p out: every asset made, readable by clients that nobody here wrote."""

import base64
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meso_assets.defs.catalogue import CATALOGUE
from meso_core.storage import hash_file, verify_manifest

ASSETS = list(CATALOGUE)


def test_every_asset_is_published_and_its_files_are_what_its_manifest_says(finished):
    for asset in ASSETS:
        manifest = finished.session.manifest(asset)
        assert manifest is not None, asset
        assert verify_manifest(finished.session.path, manifest) == (), asset
        assert manifest.made_by.packages["numpy"] == np.__version__
        assert asset in finished.printed


def test_no_two_assets_publish_the_same_file_and_raw_files_stay(finished):
    published = [file.path for asset in ASSETS for file in finished.session.manifest(asset).files]
    assert len(published) == len(set(published))
    assert {path: hash_file(finished.session.path / path).sha256 for path in finished.raw} == finished.raw


@pytest.fixture(params=["tables of ONE", "tables of meso"])
def tables(request, finished, tmp_path) -> Path:
    """Folder of the tables with which ONE finds datasets."""
    if request.param == "tables of ONE":
        from one.alf.cache import make_parquet_db

        make_parquet_db(finished.settings.root, out_dir=tmp_path)
    else:
        told = finished.meso("one-tables", "--to", str(tmp_path))
        assert told.returncode == 0, told.stderr
        assert "1 session, " in told.stdout
    return tmp_path


@pytest.mark.filterwarnings("ignore:No default revision")  # those that ONE makes of plain folders know no revisions
def test_one_loads_every_object_of_the_session(finished, tables):
    from one.api import One

    one = One(mode="local", cache_dir=finished.settings.root, tables_dir=tables)
    (eid,) = one.search()
    fovs = json.loads((finished.session.path / "alf" / "_meso_rawImagingData.meta.json").read_text())["FOV"]
    assert set(one.list_collections(eid, collection="alf/FOV*")) == {f"alf/FOV_{i:02d}" for i in range(len(fovs))}
    for i, fov in enumerate(fovs):
        folder = f"alf/FOV_{i:02d}"
        loaded = {name: one.load_object(eid, name, collection=folder) for name in ("mpci", "mpciROIs", "mpciMeanImage")}
        n_frames, n_rois = loaded["mpci"]["ROIActivityF"].shape
        assert loaded["mpci"]["times"].shape == (n_frames,)
        assert len(loaded["mpciROIs"]["uuids"]) == n_rois == loaded["mpciROIs"]["mlapdv_estimate"].shape[0]
        assert loaded["mpciMeanImage"]["images"].shape == tuple(fov["nXnYnZ"][1::-1])
        for name in ("mpciStack", "mpciROITypes", "mpciFrameQC"):
            assert one.load_object(eid, name, collection=folder), name


@pytest.mark.filterwarnings("error")
def test_the_two_lines_of_the_page_on_one_load_a_session_without_a_warning(finished, tmp_path, caplog):
    """``one.load_object`` compares each file with the hash of the table: those of manifests are right."""
    finished.meso("one-tables", "--to", str(tmp_path))
    from one.api import ONE

    one = ONE(mode="local", cache_dir=str(finished.settings.root), tables_dir=str(tmp_path))
    loaded = one.load_object(one.search()[0], "mpci", collection="alf/FOV_00")
    assert {"times", "ROIActivityF", "badFrames"} <= set(loaded)
    assert [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


#: suite2p's GUI loads a folder with this function of its own; windows are not needed for it, nor Qt.
LOADER = """
import importlib.util, pathlib, sys, types
import suite2p
from unittest.mock import MagicMock
folder = pathlib.Path(suite2p.__file__).parent / "gui"
package = types.ModuleType("suite2p.gui")
package.__path__ = [str(folder)]
sys.modules["suite2p.gui"] = package
for name in ("utils", "masks", "views", "graphics", "traces", "classgui"):
    sys.modules["suite2p.gui." + name] = types.ModuleType(name)
    setattr(package, name, sys.modules["suite2p.gui." + name])
for name in ("qtpy", "qtpy.QtGui", "qtpy.QtWidgets"):
    sys.modules[name] = MagicMock()
from suite2p.gui.io import load_files
for plane in sys.argv[1:]:
    loaded = load_files(plane + "/stat.npy")
    assert loaded is not None, plane
    stat, ops, F, Fneu, spks, iscell = loaded[:6]
    assert len(stat) == len(F) == len(Fneu) == len(spks) == len(iscell)
    assert ops["meanImg"].shape == (ops["Ly"], ops["Lx"])
    print(plane, len(stat))
"""


def test_suite2ps_own_loader_opens_the_unzipped_planes(finished, tmp_path):
    planes = []
    for archive in sorted(finished.session.path.glob("alf/FOV_*/_suite2p_ROIData.raw.zip")):
        planes.append(tmp_path / archive.parent.name)
        with zipfile.ZipFile(archive) as file:
            file.extractall(planes[-1])
        published = np.load(archive.parent / "mpci.ROIActivityF.npy")
        np.testing.assert_array_equal(np.load(planes[-1] / "F.npy").T, published)
    kept = [finished.session.path / "suite2p" / f"plane{i}" for i in range(len(planes))]
    command = [sys.executable, "-c", LOADER, *map(str, [*planes, *kept])]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert len(planes) == 3, "the tiny session has three fields of view"


def test_status_says_done_for_all_assets(finished):
    told = finished.meso("status", "--json")
    cells = json.loads(told.stdout)
    assert {(cell["asset"], cell["state"]) for cell in cells} == {(asset, "done") for asset in ASSETS}
    table = finished.meso("status")
    assert table.returncode == 0
    assert finished.key.name in table.stdout
    assert "Subjects/" not in table.stdout.partition("\n\n")[0], "one lab holds the subject"


def test_the_run_of_a_session_is_found_by_its_mouse_and_its_day(finished):
    import dagster as dg

    from meso_assets.runs.instance import open_instance

    told = {"subject": finished.key.subject, "date": finished.key.date, "number": "001", "lab": finished.key.lab}
    with open_instance(finished.settings) as instance:
        runs = instance.get_runs(dg.RunsFilter(tags={f"meso/{what}": text for what, text in told.items()}))
        assert runs
        for run in runs:
            assert run.tags["meso/session"] == run.tags["dagster/partition"] == finished.key.name
            assert run.tags["meso/work"] == "long", "it counts among the runs that the queue bounds"


def test_checks_ran_and_passed_for_the_partition(finished):
    import dagster as dg

    from meso_assets.runs.instance import open_instance

    asked = {(asset, name) for asset, info in CATALOGUE.items() for name in info.checks}
    asked |= {("frame_times", "frames_match_timestamps")}
    asked -= {("motion_registered_frames", "registration_residual")}  # not measured on so few frames, and says so
    asked -= {("mean_image_mlapdv", "atlas_is_anatomy")}  # a made-up brain, and says so
    with open_instance(finished.settings) as instance:
        for asset, name in sorted(asked):
            key = dg.AssetCheckKey(dg.AssetKey(asset), name)
            (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
            assert record.status.value == "SUCCEEDED", (asset, name, record)
            assert record.event.dagster_event.event_specific_data.partition == finished.key.name


def test_a_run_tells_where_it_is_over_all(finished):
    begun = re.findall(r"started, result (\d+) of (\d+)", finished.printed)
    assert begun == [(str(k), str(len(CATALOGUE))) for k in range(1, len(CATALOGUE) + 1)]


def test_what_a_run_was_estimated_to_take_is_told_before_it_and_beside_its_result(finished):
    import dagster as dg

    from meso_assets.runs.instance import open_instance

    assert re.search(rf"split_pages .*{finished.key} takes \d+ MB on the disk, ", finished.printed)
    with open_instance(finished.settings) as instance:
        for asset in ("imaging_frames_archive", "motion_registered_frames"):
            (first,) = instance.fetch_materializations(dg.AssetKey(asset), limit=1, ascending=True).records
            shown = first.asset_materialization.metadata["estimated"].value
            assert "MB on the disk" in shown
            assert "want of an earlier run" in shown
        run = instance.get_run_by_id(first.run_id)
        assert "GB of memory for a field of view" in run.tags["meso/estimate"]


@pytest.mark.parametrize(
    "asset",
    [
        "rois",
        "frame_times",
        "motion_registered_frames",
        "reference_images",
        "mean_image_mlapdv",
        "roi_brain_locations",
    ],
)
def test_pictures_are_small_and_one_per_materialisation(finished, asset):
    import dagster as dg

    from meso_assets.runs.instance import open_instance

    with open_instance(finished.settings) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization
    pictures = re.findall(r"data:image/\w+;base64,([^)]*)", " ".join(str(v.value) for v in event.metadata.values()))
    assert len(pictures) == 1
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as shown:
        assert shown.format in ("PNG", "WEBP")
    assert len(pictures[0]) <= 8_000
