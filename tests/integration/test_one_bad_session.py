"""Whatever one session holds, the others go on: status, sensor, interface; it is listed with the reason."""

import json
import os
import shutil
from dataclasses import replace

import dagster as dg
import pytest

from meso_assets.defs.sensors.sensors import scan
from meso_assets.io.resources import Platform
from meso_assets.runs.run import register_sessions
from meso_assets.runs.status.cells import State
from meso_core.errors import MesoError
from meso_core.simulate import preset, simulate_session
from meso_core.storage import verify_manifest
from tests.one_status import session_status

GOOD, BAD = "SP035/2023-03-03/001", "SP035/2023-03-03/002"
ASSETS = ("imaging_metadata", "frame_qc")
MANIFEST = ".meso/manifests/frame_qc.json"


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_settings):
    """Root with a good session and one that will be spoilt, each with a few assets."""
    from meso_assets.definitions import build_defs

    settings = make_settings(tmp_path_factory.mktemp("made"), executor="in_process", quiet_minutes=0.0)
    job = build_defs(settings).resolve_job_def("process_session")
    with dg.DagsterInstance.ephemeral() as once:
        for key in (GOOD, BAD):
            simulate_session(settings.root, replace(preset("tiny"), number=key[-3:]))
            register_sessions(once, Platform.open(settings), [Platform.open(settings).session(key).key])
            run = job.execute_in_process(
                instance=once,
                partition_key=key,
                asset_selection=[dg.AssetKey(name) for name in ASSETS],
                run_config={"loggers": {"readable": {}}},
            )
            assert run.success
    return settings


@pytest.fixture
def settings(made, tmp_path):
    """A copy of that root which a test may spoil."""
    shutil.copytree(made.root, tmp_path / "sessions", symlinks=True)
    return made.model_copy(update={"root": tmp_path / "sessions", "home": tmp_path / "home"})


def edited(**changes):
    """Change the manifest, and keep its own hashes fitting where nothing else is asked for."""

    def spoil(session):
        path = session / MANIFEST
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def put(path, content):
    def spoil(session):
        (session / path).parent.mkdir(parents=True, exist_ok=True)
        (session / path).write_bytes(content)

    return spoil


def instead(path, make):
    def spoil(session):
        (session / path).unlink(missing_ok=True)
        (session / path).parent.mkdir(parents=True, exist_ok=True)
        make(session / path)

    return spoil


SPOILT = {
    "empty manifest": put(MANIFEST, b""),
    "garbage manifest": put(MANIFEST, b"\xff\0garbage"),
    "deep manifest": put(MANIFEST, b'{"a":' * 100_000),
    "manifest that is a list": put(MANIFEST, b"[]"),
    "manifest as a folder": instead(MANIFEST, lambda path: path.mkdir()),
    "manifest as a pipe": instead(MANIFEST, os.mkfifo),
    "manifest that leads nowhere": instead(MANIFEST, lambda path: path.symlink_to("/no/such")),
    "sparse manifest": instead(MANIFEST, lambda path: (path.touch(), os.truncate(path, 60 << 30))),
    "files that are none": edited(files=[{"path": 5, "size": "x", "sha256": None, "md5": []}]),
    "options that are none": edited(made_by={"run_id": 1, "packages": [], "options": "x"}),
    "time that is none": edited(published_at=7),
    "manifest of another asset": edited(asset="rois"),
    "damaged pending manifest": put(".meso/manifests/.frame_qc.pending.json", b"{"),
    "pending manifest as a pipe": instead(".meso/manifests/.frame_qc.pending.json", os.mkfifo),
    "garbage in the log of removals": put(".meso/removals.jsonl", b"garbage\n{}\n"),
    "odd types in the log of removals": put(".meso/removals.jsonl", b'{"path": 5, "override": null}\n{}\n'),
    "log of removals as a pipe": instead(".meso/removals.jsonl", os.mkfifo),
    "garbage in the record of an archive": put(".meso/archive/raw_imaging_data_00.json", b"\xff"),
    "record of an archive as a pipe": instead(".meso/archive/raw_imaging_data_00.json", os.mkfifo),
    "verdicts that are none": put("reports/qc/frame_qc.json", b'[{"check": 1}]'),
    "no such date": put("_ibl_experiment.description.yaml", b"date: 2023-99-99\n"),
    "deep description": put("_ibl_experiment.description.yaml", b"[" * 50_000),
    "number without end": put("_ibl_experiment.description.yaml", b"x: " + b"9" * 50_000),
    "description as a pipe": instead("_ibl_experiment.description.yaml", os.mkfifo),
    "record folder as a file": lambda session: (shutil.rmtree(session / ".meso"), (session / ".meso").touch()),
    "tif that leads nowhere": lambda session: (session / "raw_imaging_data_00/late.tif").symlink_to("/no/such"),
    "names that are not UTF-8": lambda session: (session / "raw_sync_data" / os.fsdecode(b"\xff\xfe.npy")).touch(),
    "link that leads round": lambda session: (session / "raw_sync_data/round").symlink_to("round"),
    "folder that leads round": lambda session: (session / "raw_sync_data/round").symlink_to(".."),
}
#: Folders beside the sessions whose names are none.
ODD_FOLDERS = ["SP..35/2023-03-03/001", "SP 35/2023-03-03/001", "SP\n35/2023-03-03/001", "SP035/2023-03-03/001\n"]


def all_go_on(settings, instance):
    """Ask everybody; returns what each says of the bad session."""
    platform = Platform.open(settings)
    keys = platform.store.sessions()
    assert {GOOD, BAD} <= set(map(str, keys))
    told = []
    register_sessions(instance, platform, keys, pass_over=told.append)
    cells = {str(key): session_status(platform, instance, key)[0] for key in keys}
    assert {cell.asset: cell.state for cell in cells[GOOD]}["frame_qc"] is State.DONE
    context = dg.build_sensor_context(instance=instance)
    looked = scan(context, platform)
    assert isinstance(looked, dg.SensorResult), "the tick was skipped"
    assert GOOD in {run.partition_key for run in looked.run_requests}, "most of its assets are still to be made"
    return cells[BAD], told


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
@pytest.mark.parametrize("what", SPOILT)
def test_the_others_go_on_whatever_one_session_holds(what, settings, instance):
    SPOILT[what](settings.root / BAD)
    cells, told = all_go_on(settings, instance)
    unreadable = [cell for cell in cells if cell.state is State.UNREADABLE]
    assert all(cell.why for cell in unreadable), "the reason is told"
    assert unreadable or not told, "in the same cases, and for what only the status reads"
    if "manifest" in what and "pending" not in what:
        (cell,) = (cell for cell in cells if cell.asset == "frame_qc")
        assert cell.state is State.MISSING
        assert "frame_qc.json" in cell.why


@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_a_folder_whose_name_is_none_of_a_session_stops_nobody(name, settings, instance):
    shutil.copytree(settings.root / GOOD, settings.root / name)
    all_go_on(settings, instance)
    assert all("\n" not in key and ".." not in key for key in instance.get_dynamic_partitions("session"))


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
@pytest.mark.parametrize("what", [what for what in SPOILT if "manifest" in what])
def test_a_damaged_manifest_is_set_aside_by_running_the_asset_again(what, settings, materialise):
    session = settings.root / BAD
    SPOILT[what](session)
    with dg.DagsterInstance.ephemeral() as fresh:
        assert materialise(fresh, settings, BAD, ("frame_qc",)).success
    manifest = Platform.open(settings).session(BAD).manifest("frame_qc")
    assert manifest is not None
    assert verify_manifest(session, manifest) == ()
    names = [path.name for path in (session / ".meso/manifests").iterdir()]
    assert names.count("frame_qc.json") == 1
    assert sum(".damaged" in name for name in names) == 1, "never deleted"


@pytest.mark.parametrize(
    "key",
    [
        f"./{GOOD}",
        f"{GOOD}\n",
        f"{GOOD}/",
        f"/{GOOD}",
        "./2023-03-03/001",
        "./Subjects/SP035/2023-03-03/001",
        f"{GOOD}/.",
    ],
)
def test_a_partition_key_has_one_spelling(key, settings):
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(MesoError, match="session key: expected"):
        Platform.open(settings).session(key, instance)
