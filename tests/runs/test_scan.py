"""`meso scan`: what becomes of each folder of a root, told without Dagster, by the rule that the sensor asks."""

import json
import os
import shutil
import subprocess
import sys

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli.scan import command
from meso_assets.defs.sensors.arriving import Arriving
from meso_assets.defs.sensors.sensors import scan
from meso_assets.io.resources import Platform
from meso_assets.overview.refresh import overview_of
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import MissingInputError
from meso_core.session import SessionKey

BOUT, META = "raw_imaging_data_00", "rawImagingData.meta.json"
DESCRIPTION = "sync: {timeline: {collection: raw_sync_data}}"
WHOLE = {f"{BOUT}/x.tif": "tif", "raw_session.flag": ""}
#: Folder → files in it, what becomes of it, and what is said.
FOLDERS = {
    "SP1/2023-03-03/001": (WHOLE, Arriving.READY, "raw_session.flag is there"),
    "lab/Subjects/SP2/2023-03-03/001": (WHOLE, Arriving.READY, "to be made"),
    "SP3/2023-03-03/001": (
        {f"{BOUT}/x.tif": "tif", "_ibl_experiment.description.yaml": DESCRIPTION},
        Arriving.WAITING,
        "still to come: raw_sync_data",
    ),
    "SP3/2023-03-03/002": (
        {f"{BOUT}/x.tif.part": "ti", "raw_session.flag": ""},
        Arriving.WAITING,
        "still being copied: raw_imaging_data_00/x.tif.part",
    ),
    "SP3/2023-03-03/003": ({f"{BOUT}/x.tif": "tif"}, Arriving.WAITING, "changed 0 min ago"),
    "SP4/2023-03-03/001": (
        {f"{BOUT}/x.tif": "", f"{BOUT}/a.{META}": "{}", f"{BOUT}/b.{META}": "{}", "raw_session.flag": ""},
        Arriving.BROKEN,
        "raw_imaging_data_00 has 2 metadata files",
    ),
    "SP4/2023-02-30": ({f"001/{BOUT}/x.tif": "tif"}, Arriving.BROKEN, "there is no such date"),
    "SP4/2023-03-04/1a": ({f"{BOUT}/x.tif": "tif"}, Arriving.BROKEN, "no session number"),
    "SP5/2023-03-03/001": ({**WHOLE, "_ibl_experiment.description.yaml": "a: [b"}, Arriving.UNREADABLE, "YAML"),
    ".hidden": ({"2023-03-03/001/raw_session.flag": ""}, Arriving.IGNORED, "a hidden file"),
    "@eaDir": ({"2023-03-03/001/raw_session.flag": ""}, Arriving.IGNORED, "left by a Synology server"),
}  # fmt: skip
FOREIGN = {"notes/2023/plan.txt": "no date, no session", "README.txt": ""}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    settings = load_settings({"root": tmp_path / "sessions", "home": tmp_path / "home"})
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    settings.root.mkdir()
    return settings


@pytest.fixture
def filled(settings):
    for folder, (files, _, _) in FOLDERS.items():
        for name, content in files.items():
            write(settings.root / folder / name, content)
    for name, content in FOREIGN.items():
        write(settings.root / name, content)
    return settings


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def scanned(*arguments):
    told = CliRunner().invoke(command, list(arguments))
    return told.exit_code, told.output


def records():
    return {one["path"]: one for one in json.loads(scanned("--json")[1])}


def test_each_folder_is_told_with_what_becomes_of_it_and_why(filled):
    found = records()
    assert set(found) == set(FOLDERS), "and foreign folders are nobody's business"
    for path, (_, state, why) in FOLDERS.items():
        assert (found[path]["state"], why in found[path]["why"]) == (state.value, True), found[path]


def test_the_sensor_asks_for_runs_of_what_is_ready_and_of_nothing_that_waits(filled):
    with dg.DagsterInstance.ephemeral() as instance:
        told = scan(dg.build_sensor_context(instance=instance), Platform.open(filled))
    ready = {path for path, one in records().items() if one["state"] == "ready"}
    broken = {"SP4/2023-03-03/001"}  # what can be made of it without metadata is made
    assert {run.partition_key for run in told.run_requests} == {SessionKey.parse(path).name for path in ready | broken}


def test_the_overview_tells_the_same_of_what_waits_and_of_what_breaks_a_rule(filled):
    with dg.DagsterInstance.ephemeral() as instance:
        page = overview_of(filled, instance)
    sessions = {one.session: one for one in page.sessions}
    for folder, one in records().items():
        path = folder.removeprefix("lab/Subjects/")  # as the session is called
        if path not in sessions:
            assert one["why"] in {passed.reason for passed in page.passed_over if passed.path == path}
        elif one["state"] == "waiting":
            assert sessions[path].waits == one["why"]
        elif one["state"] in ("breaks a rule", "unreadable"):
            assert one["why"] in (*sessions[path].remarks, *(cell.why for cell in sessions[path].cells))


def test_the_exit_status_tells_whether_a_folder_is_to_be_mended(filled):
    code, text = scanned()
    assert code == 1
    assert text.splitlines()[-1] == "2 ready, 3 waiting, 3 breaks a rule, 1 unreadable, 2 ignored"
    for path, (_, state, _) in FOLDERS.items():
        if state in (Arriving.BROKEN, Arriving.UNREADABLE):
            shutil.rmtree(filled.root / path)
    assert scanned()[0] == 0


def test_a_root_that_cannot_be_listed_is_an_error_and_not_an_empty_one(settings):
    settings.root.rmdir()
    told = CliRunner().invoke(command, [])
    assert isinstance(told.exception, MissingInputError)
    settings.root.mkdir()
    assert scanned() == (0, "no session, and no folder that looks like one\n")


def test_nothing_of_dagster_is_loaded_and_nothing_written_but_the_answers_of_the_look(filled):
    code = (
        "import sys; from click.testing import CliRunner; from meso_assets.cli.scan import command\n"
        "told = CliRunner().invoke(command, []); assert '2 ready' in told.output, told.output\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'dagster'])"
    )
    before = sorted(path for path in filled.root.rglob("*"))
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
    assert sorted(path for path in filled.root.rglob("*")) == before
    # what has just changed is not kept, for it may change again unseen
    assert [path.name for path in filled.home.glob("*")] in ([], ["index"])
