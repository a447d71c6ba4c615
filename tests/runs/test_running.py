"""What a run from the terminal refuses before it begins, and how it sums up what it did."""

import dagster as dg
import pytest

from meso_assets.cli.tables import made_table
from meso_assets.io.resources import Platform
from meso_assets.runs.run import RunSummary, register_sessions, run_session
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import EngineError, InputFileError, MissingInputError, SettingsError
from meso_core.session import SessionKey
from meso_core.storage import Basis, MadeBy

KEY = SessionKey.parse("SP035/2023-03-03/001")


@pytest.fixture
def settings(tmp_path):
    bout = KEY.folder(tmp_path / "Subjects") / "raw_imaging_data_00"
    bout.mkdir(parents=True)
    (bout / "x_00001.tif").write_bytes(b"tif")
    return load_settings({"root": tmp_path / "Subjects", "home": tmp_path / "home"})


def test_a_session_that_is_not_there_becomes_no_partition_and_the_nearest_are_named(settings):
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(MissingInputError) as told:
            register_sessions(instance, Platform.open(settings), [KEY, SessionKey.parse("SP035/2023-03-04/001")])
        assert instance.get_dynamic_partitions("session") == []
    assert "no such session" in str(told.value)
    assert str(settings.root) in str(told.value)
    assert str(KEY) in str(told.value)


def test_a_name_that_is_like_no_session_is_told_how_many_there_are(settings):
    with pytest.raises(MissingInputError, match=r"no such session \(1 others"):
        Platform.open(settings).session("zz/1999-12-31/777")


@pytest.mark.parametrize(
    ("options", "assets", "told"),
    [
        ({"nonsense": 3}, (), "nonsense"),
        ({"threshold_scaling": "much"}, (), "detection.threshold_scaling"),
        ({"threshold_scaling": 0.5}, ("frame_times",), "motion_registered_frames or rois"),
    ],
)
def test_suite2p_options_are_checked_before_anything_begins(settings, options, assets, told):
    with pytest.raises(SettingsError, match=told):
        run_session(settings, KEY, assets=assets, suite2p=options)
    assert not settings.home.exists(), "no instance, no run"


def test_an_engine_that_is_not_there_is_told_before_anything_begins(settings, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineError, match=r"expected SLURM's commands on this machine, found no `sinfo`"):
        run_session(settings.model_copy(update={"executor": "slurm"}), KEY)
    assert not settings.home.exists()


def test_a_run_by_hand_waits_for_a_copy_that_goes_on_and_begins_when_its_remedy_was_followed(settings, monkeypatch):
    bout = KEY.folder(settings.root) / "raw_imaging_data_00"
    (bout / "x_00002.tif.part").write_bytes(b"ti")
    words = (
        r"expected raw files that are whole, found raw_imaging_data_00/x_00002\.tif\.part, "
        r"a copy that is not finished\. "
        r"Wait until the copy has ended, then run again\. If none goes on, delete that file or move it away\.$"
    )
    with pytest.raises(InputFileError, match=words):
        run_session(settings, KEY)
    assert not settings.home.exists(), "no instance, no run"

    class BegunError(Exception):
        pass

    def begin(_):
        raise BegunError

    monkeypatch.setattr("meso_assets.runs.run.open_instance", begin)
    (bout / "x_00002.tif.part").rename(bout / "x_00002.tif")
    with pytest.raises(BegunError):
        run_session(settings, KEY)


def test_the_closing_table_tells_what_was_made_what_was_there_and_what_failed(settings):
    session = Platform.open(settings).session(str(KEY))
    before = ("imaging_metadata", "imaging_frames_archive", "frame_qc", "motion_registered_frames")
    for asset, run in {**dict.fromkeys(before, "earlier"), "imaging_metadata": "this"}.items():
        staging = session.stage(asset)
        staging.write(f"{asset}.txt", b"x")
        session.publish(staging.seal(), Basis("1"), MadeBy(run))
    asked = ("imaging_metadata", "imaging_frames_archive", "frame_times", "motion_registered_frames", "rois")
    seconds = {
        "imaging_metadata": 1.0,
        "imaging_frames_archive": 0.1,
        "frame_times": 2.0,
        "motion_registered_frames": 0.4,
    }
    failed = frozenset({"frame_times", "motion_registered_frames"})
    table = made_table(session, RunSummary("this", False, seconds, asked, failed))
    did = {line.split("  ")[0]: line for line in table.splitlines()[2:]}
    assert " made " in did["imaging_metadata"]
    assert " unchanged, there before " in did["imaging_frames_archive"]
    assert " failed " in did["frame_times"]
    assert "there before" not in did["frame_times"]
    assert " failed, there before " in did["motion_registered_frames"]
    assert " not reached" in did["rois"]
    assert " there before " in did["frame_qc"]
    assert not {"not reached", "failed", "made"} & set(did["frame_qc"].split("  "))
    assert "frame_qc" in did
    assert "reference_images" not in did, "nobody asked for it, and there is none"
