"""The assets of group alyx: what is published of an earlier registration stays, whatever the next one ends as."""

import hashlib
import json

import dagster as dg
import pytest

from meso_assets.definitions import build_defs
from meso_assets.io.resources import Platform
from meso_assets.runs.run import register_sessions
from meso_assets.runs.settings import load_settings
from meso_core.storage import Basis, MadeBy
from tests.alyx.standin import Given, Throttle, faults, serving

KEY = "SP035/2023-03-03/001"
TIMES = "alf/FOV_00/mpci.times.npy"


@pytest.fixture
def given(monkeypatch):
    with serving(throttle=Throttle(None)) as server:
        given = Given(server.url, stand_in=server)
        given.a_lab()
        given.subject("SP035")
        given.session("SP035", "2023-03-03", 1)
        monkeypatch.setenv("ALYX_USER", given.user)
        monkeypatch.setenv("ALYX_PASSWORD", given.password)
        for module in ("transport", "carry"):
            monkeypatch.setattr(f"meso_core.alyx.{module}._FIRST_WAIT_S", 0.001)
        yield given
        given.close()


@pytest.fixture
def lab(given, tmp_path):
    return Lab(given, tmp_path)


class Lab:
    """A session with published frame times, and runs of one asset of group alyx."""

    def __init__(self, given, folder):
        bout = folder / "sessions" / KEY / "raw_imaging_data_00"
        bout.mkdir(parents=True)
        (bout / "x.tif").write_bytes(b"x")
        places = {"root": folder / "sessions", "home": folder / "home"}
        chosen = {"alyx": "online", "alyx_url": given.url, "alyx_repository": given.repository}
        self.given, self.settings = given, load_settings({**places, **chosen, "executor": "in_process"})
        self.session = Platform.open(self.settings).session(KEY)
        self.folder = self.session.path

    def publish_times(self, content):
        staging = self.session.stage("frame_times")
        staging.write(TIMES, content)
        self.session.publish(staging.seal(), Basis("1"), MadeBy("by hand"))

    def run(self, asset="alyx_datasets", **changes):
        """Make the asset; its record of what was sent, where there is one."""
        settings = self.settings.model_copy(update=changes)
        with dg.DagsterInstance.ephemeral() as instance:
            register_sessions(instance, Platform.open(settings), [self.session.key])
            done = (
                build_defs(settings)
                .resolve_job_def("process_session")
                .execute_in_process(
                    instance=instance,
                    partition_key=KEY,
                    asset_selection=[dg.AssetKey(asset)],
                    run_config={"loggers": {"readable": {}}},
                )
            )
        assert done.success
        record = self.folder / "alyx" / f"{asset.removeprefix('alyx_')}.sent.json"
        return json.loads(record.read_text()) if record.is_file() else {}

    def protect_all(self):
        if not self.given.rows("tags"):
            self.given.call("POST", "tags", json={"name": "published", "protected": True})
        for row in self.given.rows("datasets"):
            self.given.call("PATCH", f"datasets/{row['url'][-36:]}", json={"tags": ["published"]})

    def revisions(self):
        """Content of the copies in folders of revisions, by their order at the server."""
        rows = [row for row in self.given.rows("datasets") if row["revision"]]
        found = {}
        for row in sorted(rows, key=lambda row: row["revision"]):
            path = self.folder / row["collection"] / f"#{row['revision']}#" / row["name"]
            content = path.read_bytes() if path.is_file() else b"(none)"
            assert content == b"(none)" or hashlib.md5(content).hexdigest() == row["hash"]
            found[row["revision"]] = content
        return list(found.values())


@pytest.fixture
def revised(lab):
    """Two protected revisions of the frame times, one after the other."""
    for content in (b"first", b"second", b"third"):
        lab.publish_times(content)
        lab.run()
        lab.protect_all()
    return lab


def test_two_revisions_in_a_row_are_both_on_disk(revised):
    assert revised.revisions() == [b"second", b"third"]


@pytest.mark.parametrize("how", ["away", "off", "dry-run", "withheld", "once more"])
def test_bytes_of_protected_revisions_stay_on_disk_whatever_the_next_run_ends_as(revised, how):
    if how == "away":
        revised.publish_times(b"fourth")
        revised.given.stand_in.stop()
        assert revised.run()["state"] == "pending"
    elif how == "withheld":
        write_verdict(revised)
        revised.run()
    elif how == "once more":
        revised.run()
    else:
        revised.run(alyx=how)
    revised.given.stand_in.start()
    assert revised.revisions() == [b"second", b"third"]
    manifest = revised.session.manifest("alyx_datasets")
    assert len([file for file in manifest.files if "/#" in file.path]) == 2


def write_verdict(lab):
    from meso_core.qc import QCResult, Verdict, qc_path, results_to_json

    staging = lab.session.stage("frame_times")
    staging.write(TIMES, b"third")
    result = QCResult("a_check", Verdict.FAIL, 1, 0, "seen", "here")
    staging.write(qc_path("frame_times"), results_to_json((result,)).encode())
    lab.session.publish(staging.seal(), Basis("1"), MadeBy("by hand"))


def test_a_registration_that_broke_off_leaves_its_record_also_where_an_earlier_one_was_whole(lab):
    lab.publish_times(b"first")
    assert lab.run()["state"] == "registered"
    (row,) = lab.given.rows("datasets")
    lab.given.call("DELETE", f"datasets/{row['url'][-36:]}")
    server = lab.given.stand_in
    server.faults.next("POST", "/register-file", faults.Fault(meanwhile=server.stop, drop=True))
    assert lab.run()["state"] == "pending", "what Alyx lacks is known, and the sensor must find it"
    server.start()
    assert lab.run()["state"] == "registered"
    assert len(lab.given.rows("datasets")) == 1


def test_a_server_that_is_away_leaves_a_whole_registration_as_it_is(lab):
    lab.publish_times(b"first")
    before = lab.run()
    lab.given.stand_in.stop()
    assert lab.run() == before
