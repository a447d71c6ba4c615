"""A session told to Alyx by ``meso run``: of the phantom, dry, with the server away, with it back, and once more."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import numpy as np
import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.defs.alyx.sensor import send_what_waits
from meso_assets.io.alyx import Alyx
from meso_assets.io.resources import Platform
from meso_core.errors import MesoWarning
from meso_core.location import LocationSettings, load_atlas
from meso_core.qc import QCResult, Verdict, qc_path, results_to_json
from tests.alyx.standin import Given, Throttle, serving
from tests.alyx.standin.given import PASSWORD, USER
from tests.integration.conftest import run_meso

LOCATED = ("mean_image_mlapdv", "roi_brain_locations")
TOLD = ("alyx_fov_records", "alyx_snapshots", "alyx_datasets", "alyx_session_qc")
#: What ends as it does whatever happens to locations: a verdict goes also where they are withheld.
OTHERS = {"datasets": "registered", "snapshots": "registered", "session_qc": "registered"}


def brain_in_a_file(folder, cache):
    """The made-up brain as a file, as if it were somebody's atlas: the phantom itself is never sent."""
    phantom = load_atlas(LocationSettings(atlas="phantom", resolution_um=50, cache_folder=cache))
    ids = np.abs(phantom.regions.id).astype("<u4")[phantom.label].transpose(1, 2, 0)
    sizes = " ".join(map(str, ids.shape[::-1]))
    head = f"NRRD0004\ntype: uint32\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: gzip\n\n"
    path = folder / "annotation_50.nrrd"
    path.write_bytes(head.encode() + gzip.compress(np.ascontiguousarray(ids).tobytes(), 1, mtime=0))
    return path


@dataclass
class Step:
    """What one run did."""

    #: How it ended: the result of Dagster, or of the process of the command line.
    ran: Any
    #: Method and endpoint of what was written at the server.
    written: list[tuple[str, str]]
    #: Records of the session as they were after it, by name of the file.
    records: dict[str, Any] = field(default_factory=dict)


class Story:
    """One processed session, a server that knows it, and runs with other settings, one after the other."""

    def __init__(self, folder, finished, server, materialise):
        self.server, self.key, self._materialise = server, finished.key, materialise
        self.site = Given(server.url, stand_in=server, lab=str(finished.key.lab))
        self.site.a_lab()
        self.site.subject(self.key.subject)
        self.eid = self.site.session(self.key.subject, self.key.date, int(self.key.number))
        shutil.copytree(finished.settings.root, folder / "sessions")
        own = {"root": folder / "sessions", "home": folder / "home", "alyx_url": server.url, "executor": "in_process"}
        self.settings = finished.settings.model_copy(update={**own, "alyx_repository": self.site.repository})
        self.folder = self.settings.root / finished.session.path.relative_to(finished.settings.root)
        atlas = brain_in_a_file(folder, finished.settings.cache)
        self.in_a_brain = self.settings.model_copy(update={"atlas": "file", "atlas_path": atlas})

    def command(self, mode):
        """``meso run`` in a process of its own."""
        settings = self.in_a_brain.model_copy(update={"alyx": mode})
        assets = ",".join([*LOCATED, *TOLD])
        return self._step(lambda: run_meso(settings, "run", str(self.key), "--assets", assets))

    def tick(self):
        """Let the sensor look; the assets of the session for which it asks for a run, in order."""
        chosen = self.in_a_brain.model_copy(update={"alyx": "online"})
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("session", [str(self.key)])
            found = send_what_waits(dg.build_sensor_context(instance), Platform.open(chosen), Alyx.open(chosen))
        asked = found if isinstance(found, list) else getattr(found, "run_requests", None) or []
        return [key.to_user_string() for request in asked for key in request.asset_selection]

    def assets(self, settings, mode):
        """The three assets, in this process."""
        with dg.DagsterInstance.ephemeral() as instance:
            chosen = settings.model_copy(update={"alyx": mode})
            return self._step(lambda: self._materialise(instance, chosen, self.key, TOLD))

    def meso(self, *arguments):
        """The command line, in this process."""
        settings = self.in_a_brain.model_copy(update={"alyx": "online"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MesoWarning)  # the server has no craniotomy of the subject
            return CliRunner(env=settings.as_environment()).invoke(group, arguments)

    @contextmanager
    def failed_quality_control(self, asset):
        """Let the stored verdict on an asset be that it failed."""
        file = self.folder / qc_path(asset)
        before = file.read_bytes() if file.is_file() else None
        file.write_text(results_to_json((QCResult("a_check", Verdict.FAIL, 1, 0, "seen", "here"),)))
        yield
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)

    def _step(self, run):
        before = len(self.server.requests)
        ran = run()
        written = [r for r in self.server.requests[before:] if r[0] != "GET" and r[1] != "auth-token"]
        files = {path.name: json.loads(path.read_text()) for path in sorted((self.folder / "alyx").glob("*.json"))}
        return Step(ran, written, files)


@pytest.fixture(scope="module")
def story(tmp_path_factory, finished, materialise):
    """Of the phantom; dry; online with the server away; with it back; once more."""
    with pytest.MonkeyPatch.context() as patch, serving(throttle=Throttle(None)) as server:
        patch.setenv("ALYX_USER", USER)
        patch.setenv("ALYX_PASSWORD", PASSWORD)
        yield told(Story(tmp_path_factory.mktemp("told"), finished, server, materialise))


def told(story):
    """Let the story happen."""
    story.phantom = story.assets(story.settings, "online")
    story.names_of_the_phantom = sorted(row["name"] for row in story.site.rows(f"datasets?session={story.eid}"))
    story.dry = story.command("dry-run")
    story.server.stop()
    with pytest.MonkeyPatch.context() as patch:  # how long it is tried again is a matter of ``tests/alyx``
        patch.setattr("meso_core.alyx.server.transport._FIRST_WAIT_S", 0.01)
        story.away = story.assets(story.in_a_brain, "online")
    story.asked_while_away = story.tick()
    story.server.start()
    story.asked_when_back = story.tick()
    story.back = story.assets(story.in_a_brain, "online")
    story.asked_after = story.tick()
    story.again = story.command("online")
    story.plan, story.audit = (story.meso("alyx", verb, str(story.key)) for verb in ("plan", "audit"))
    with story.failed_quality_control("mean_image_mlapdv"):
        story.plan_of_failed = story.meso("alyx", "plan", str(story.key))
        story.failed = story.assets(story.in_a_brain, "online")
    return story


def state(step):
    return {
        name.removesuffix(".sent.json"): r["state"] for name, r in step.records.items() if name.endswith(".sent.json")
    }


def test_nothing_that_was_located_with_the_phantom_reaches_the_server(story):
    assert story.phantom.ran.success
    assert state(story.phantom) == {"fov_records": "withheld", **OTHERS}
    assert "phantom" in story.phantom.records["fov_records.sent.json"]["reason"]
    assert {endpoint for _, endpoint in story.phantom.written} == {"register-file", "notes", "sessions"}
    assert "mpci.ROIActivityF.npy" in story.names_of_the_phantom
    assert [name for name in story.names_of_the_phantom if "mlapdv" in name or "brainLocation" in name] == []
    left_out = story.phantom.records["datasets.json"]["left_out"]
    assert "phantom" in left_out["alf/FOV_00/mpciROIs.mlapdv_estimate.npy"]


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(story):
    assert story.dry.ran.returncode == 0, story.dry.ran.stdout[-2000:] + story.dry.ran.stderr[-2000:]
    assert story.dry.written == []
    assert "would create 3 fields of view, 3 locations" in story.dry.ran.stdout
    plans = story.dry.records["fov_records.plan.json"]["plans"]
    assert [r["name"] for r in plans[0]["records"] if r["kind"] == "field of view"] == ["FOV_00", "FOV_01", "FOV_02"]
    would = {
        r["name"] for r in story.dry.records["datasets.plan.json"]["plans"][0]["records"] if r["action"] == "create"
    }
    assert {name.rpartition("/")[2] for name in would} == {
        f"{name}_estimate.npy" for name in ("mpciROIs.mlapdv", "mpciMeanImage.mlapdv")
    } | {f"{name}.brainLocationIds_ccf_2017_estimate.npy" for name in ("mpciROIs", "mpciMeanImage")}


def test_a_server_that_is_away_holds_nothing_up_and_what_waits_says_so(story):
    assert story.away.ran.success
    assert set(state(story.away).values()) == {"pending"}
    record = story.away.records["datasets.sent.json"]
    assert "no connection" in record["reason"]
    assert record["since"]


def test_the_sensor_waits_for_the_server_and_asks_once_for_what_is_due(story):
    assert story.asked_while_away == []
    assert sorted(story.asked_when_back) == sorted(TOLD)
    assert story.asked_after == []


def test_what_waited_is_carried_out_once(story):
    assert story.back.ran.success
    assert set(state(story.back).values()) == {"registered"}
    counts = Counter(endpoint for _, endpoint in story.back.written)
    # snapshots were there before; of the report the map of the brain is new, and the note before it says so
    told = {"sessions": 1, "notes": 2}
    assert counts == {"fields-of-view": 3, "fov-location": 3, "register-file": 3, **told}
    assert len(story.site.rows(f"notes?django=object_id,{story.eid}")) == 3


def test_a_further_run_writes_nothing_and_leaves_the_records_as_they_are(story):
    assert story.again.ran.returncode == 0, story.again.ran.stdout[-2000:] + story.again.ran.stderr[-2000:]
    assert story.again.written == []
    assert story.again.records == story.back.records


def test_plan_and_audit_agree_that_nothing_is_left_to_do(story):
    assert story.plan.exit_code == 0, story.plan.output
    assert story.plan.output.splitlines()[-1] == "nothing to do"
    assert story.audit.exit_code == 0, story.audit.output
    assert f"{story.key.name}: no findings" in story.audit.output


def test_what_failed_and_what_was_made_from_it_is_withheld_and_the_plan_says_so(story):
    assert "withheld, fields of view: mean_image_mlapdv failed quality control" in story.plan_of_failed.output
    assert "withheld, files of mean_image_mlapdv: mean_image_mlapdv failed" in story.plan_of_failed.output
    assert "withheld, files of roi_brain_locations: roi_brain_locations is made from" in story.plan_of_failed.output
    assert state(story.failed) == {"fov_records": "withheld", **OTHERS}
    assert {endpoint for _, endpoint in story.failed.written} == {"sessions", "notes"}, "the verdict alone"
    assert story.site.call("GET", f"/sessions/{story.eid}")["qc"] == "FAIL"


def test_locations_are_the_corners_of_the_mean_images(story):
    for fov in story.site.rows(f"fields-of-view?session={story.eid}"):
        folder = story.folder / "alf" / fov["name"]
        image = np.load(folder / "mpciMeanImage.mlapdv_estimate.npy")
        ids = np.load(folder / "mpciMeanImage.brainLocationIds_ccf_2017_estimate.npy")
        (at,) = fov["location"]
        np.testing.assert_allclose(np.transpose([at["x"], at["y"], at["z"]]), image[[0, 0, -1, -1], [0, -1, 0, -1]])
        assert set(at["brain_region"]) == set(np.abs(ids).ravel().tolist())
        assert (at["provenance"], at["default_provenance"], at["coordinate_system"]) == ("E", True, "IBL-Allen")
        assert at["n_xyz"] == [image.shape[1], image.shape[0], 1]


def test_each_file_is_at_the_server_as_it_lies_on_disk(story):
    rows = story.site.rows(f"datasets?session={story.eid}")
    at_server = {f"{row['collection']}/{row['name']}": row for row in rows}
    assert len(at_server) == len(rows)
    on_disk = {p.relative_to(story.folder).as_posix() for p in story.folder.glob("alf/FOV_*/*") if p.is_file()}
    on_disk |= {
        p.relative_to(story.folder).as_posix()
        for p in story.folder.glob("raw_imaging_data_*/reference/referenceImage.*")
    }
    kept = set(story.back.records["datasets.json"]["left_out"])
    assert on_disk - kept <= set(at_server)
    assert any("/reference/referenceImage." in path for path in at_server), "reference images are registered too"
    for path, row in at_server.items():
        content = (story.folder / path).read_bytes()
        assert (row["hash"], row["file_size"]) == (hashlib.md5(content).hexdigest(), len(content)), path
        (file,) = row["file_records"]
        assert file["exists"], path
        assert file["relative_path"] == f"{story.key.subject}/{story.key.date}/{story.key.number}/{path}"
        assert row["qc"] in ("PASS", "WARNING", "NOT_SET")


def test_the_picture_that_arrived_is_the_snapshot(story):
    (note,) = [record for record in story.server.tables["notes"] if "snapshot" in record["json"]]
    name, content = note["picture"]
    assert content == (story.folder / "snapshots" / name).read_bytes()
    assert note["text"] == "Mean image of the first field before the session"


def test_each_id_in_the_records_is_that_of_a_record_at_the_server(story):
    for file, content in story.back.records.items():
        if file.endswith(".sent.json"):
            assert content["sessions"] == [story.eid]
            for record in content["records"]:
                assert story.site.call("GET", record["link"].removeprefix(story.server.url)), record
                assert record["link"].endswith(record["id"])


def test_no_file_and_no_line_of_output_holds_a_secret(story):
    secrets = [PASSWORD, story.server.token(USER)]
    for file in (
        path for folder in (story.folder, story.settings.home) for path in folder.rglob("*") if path.is_file()
    ):
        content = file.read_bytes()
        assert [secret for secret in secrets if secret.encode() in content] == [], file
    for step in (story.dry, story.again):
        assert [secret for secret in secrets if secret in step.ran.stdout + step.ran.stderr] == []


def test_one_in_remote_mode_lists_and_loads_what_was_registered(story, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    from one.api import ONE

    access = {"base_url": story.server.url, "username": USER, "password": PASSWORD}
    one = ONE(**access, cache_dir=story.settings.root, mode="remote", cache_rest=None, silent=True)
    assert str(one.path2eid(story.folder)) == story.eid
    registered = {row["name"] for row in story.back.records["datasets.sent.json"]["records"]}
    assert set(one.list_datasets(story.eid)) == registered
    loaded = one.load_object(story.eid, "mpci", collection="alf/FOV_00")
    np.testing.assert_array_equal(loaded["times"], np.load(story.folder / "alf" / "FOV_00" / "mpci.times.npy"))
