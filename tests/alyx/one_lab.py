"""A lab with a server and one session, whose results are published by hand, and the platform that tells Alyx of it."""

import hashlib
import json

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.definitions import build_defs
from meso_assets.io.resources import Platform
from meso_assets.runs.run import register_sessions
from meso_assets.runs.settings.settings import load_settings
from meso_core.qc import QCResult, qc_path, results_to_json
from meso_core.storage import Basis, MadeBy
from tests.alyx.standin import Given, Throttle, serving

KEY = "SP035/2023-03-03/001"


@pytest.fixture
def entered(monkeypatch):
    with serving(throttle=Throttle(None)) as server:
        given = Given(server.url, stand_in=server)
        given.a_lab()
        given.subject("SP035")
        given.session("SP035", "2023-03-03", 1)
        monkeypatch.setenv("ALYX_USER", given.user)
        monkeypatch.setenv("ALYX_PASSWORD", given.password)
        for module in ("server.transport", "sending.carry"):
            monkeypatch.setattr(f"meso_core.alyx.{module}._FIRST_WAIT_S", 0.001)
        yield given
        given.close()


@pytest.fixture
def one_lab(entered, tmp_path):
    return Lab(entered, tmp_path)


class Lab:
    """A session with published frame times, and runs of one asset of group alyx."""

    key = KEY
    times = "alf/FOV_00/mpci.times.npy"
    activity = "alf/FOV_00/mpci.ROIActivityF.npy"

    def __init__(self, given, folder):
        bout = folder / "sessions" / KEY / "raw_imaging_data_00"
        bout.mkdir(parents=True)
        (bout / "x.tif").write_bytes(b"x")
        places = {"root": folder / "sessions", "home": folder / "home"}
        chosen = {"alyx": "online", "alyx_url": given.url, "alyx_repository": given.repository}
        self.given, self.settings = given, load_settings({**places, **chosen, "executor": "in_process"})
        self.session = Platform.open(self.settings).session(KEY)
        self.folder = self.session.path

    def publish(self, asset, path, content, verdict=None):
        """Publish a file as if an asset had made it, with a verdict on it."""
        staging = self.session.stage(asset)
        staging.write(path, content)
        if verdict is not None:
            result = QCResult("a_check", verdict, 1, 0, "seen", "here")
            staging.write(qc_path(asset), results_to_json((result,)).encode())
        self.session.publish(staging.seal(), Basis("1"), MadeBy("by hand"))

    def publish_times(self, content, verdict=None):
        self.publish("frame_times", self.times, content, verdict)

    def meso(self, *arguments, **changes):
        """The command line, in this process."""
        settings = self.settings.model_copy(update=changes)
        return CliRunner(env=settings.as_environment()).invoke(group, arguments)

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
