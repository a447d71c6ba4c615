"""What Dagster's records tell, asked in a process beside the look at the disk: real commands in fresh processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys

import dagster as dg
import pytest

from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import MesoSettings
from meso_assets.runs.status.status import status_of
from meso_core.session import SessionKey

KEYS = [SessionKey.parse(f"SP035/2023-03-0{day}/001") for day in (1, 2, 3)]
COMMAND = "from meso_assets.cli import main; main()"
#: The same, then a word on what the process of the command has loaded.
LOADED = """
import sys
from meso_assets.cli import group
group.main(sys.argv[1:], standalone_mode=False)
print("dagster" in sys.modules, file=sys.stderr)
"""


@pytest.fixture
def lab(tmp_path):
    settings = MesoSettings(root=tmp_path / "root", home=tmp_path / "home")
    for key in KEYS:
        (key.folder(settings.root) / "raw_imaging_data_00").mkdir(parents=True)
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions("session", [key.name for key in KEYS[:2]])
        run = dg.DagsterRun("process_session", tags={"dagster/partition": KEYS[0].name})
        instance.add_run(run)
        instance.report_run_failed(run)
    return settings


def ran(settings, *words, code=COMMAND):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MESO_", "DAGSTER_"))}
    own = {"MESO_ROOT": str(settings.root), "MESO_HOME": str(settings.home)}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, env=kept | own, capture_output=True, text=True, check=False)


def test_the_process_that_looks_does_not_load_dagster_and_tells_the_same(lab):
    told = ran(lab, "status", "--json", code=LOADED)
    assert told.stderr.splitlines()[-1] == "False", told.stderr
    with open_instance(lab) as instance:
        cells = status_of(lab, instance, KEYS, survey=lab.store().survey())
    by_instance = [{"session": one.session, **cell.as_record()} for one in cells for cell in one.cells]
    records = json.loads(told.stdout)
    assert [one for one in records if one["asset"]] == json.loads(json.dumps(by_instance))


def test_damaged_records_are_told_by_name_and_no_traceback(lab):
    (lab.dagster_home / "history" / "runs.db").write_bytes(b"no database" * 1000)
    for words in (("status",), ("overview",)):
        told = ran(lab, *words)
        assert told.returncode == 2
        assert "runs.db" in told.stderr
        assert "Traceback" not in told.stderr


def test_a_killed_process_is_told_and_what_to_do(lab, monkeypatch):
    from meso_assets.runs.status import dagster_records as told

    monkeypatch.setenv("MESO_ROOT", str(lab.root))
    monkeypatch.setenv("MESO_HOME", str(lab.home))
    monkeypatch.delitem(sys.modules, "dagster")  # as in a terminal, where nothing has loaded it yet
    with told.asked_beside() as answer:
        (child,) = multiprocessing.active_children()
        child.kill()
        with pytest.raises(told.ProcessingError, match="Free memory"):
            answer()
