"""Every fault of a rig, walked through Dagster: a named error, the old result stays, the session beside goes on."""

import shutil

import dagster as dg
import pytest

from meso_assets.defs.dagster_internals import failure_message
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.resources import Platform
from meso_core.simulate import FAULTS, simulate_session
from meso_core.storage import verify_manifest
from tests.short_session import short

QUICK = ("imaging_metadata", "frame_qc", "frame_times")

#: Fault → the asset that fails, and the error it names.
FAILS = {
    "foreign_tif": ("imaging_frames_archive", "InputFileError"),
    "metadata_mismatch": ("imaging_metadata", "MetadataError"),
    "dropped_pulses": ("frame_times", "TimingError"),
    "missing_bout": ("frame_times", "TimingError"),
}
#: Fault → the asset that goes on, the check that does not pass, and how bad that is.
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
TOLERATED = {
    "wrong_length_qc": ("frame_qc", "frames_were_rated", ERROR),
    "surplus_pulses": ("frame_times", "frames_match_pulses", WARN),
    "missing_folder": ("frame_times", "bouts_have_folders", WARN),
    "truncated_tif": ("imaging_metadata", "frames_are_whole", ERROR),
    "empty_tif": ("imaging_metadata", "frames_are_whole", WARN),
    "missing_frames": ("imaging_metadata", "frames_are_whole", ERROR),
    "doubled_page": ("imaging_metadata", "frames_are_whole", WARN),
    "swapped_frames": ("imaging_metadata", "frames_are_whole", ERROR),
}
HARMLESS = (
    "missing_metadata",
    "counter_wrap",
    "hidden_files",
    "thumbs_db",
    "ea_dir",
    "partial_copy",
    "foreign_fov",
)
#: The folder has another name; ``test_folders_as_labs_have_them`` walks it.
RENAMED = ("session_number_1",)
#: Walked through the library, since they need a second channel.
TWO_CHANNELS = ("channel_alone", "tif_per_channel")


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Root with two good sessions, 001 and 002."""
    root = tmp_path_factory.mktemp("good") / "sessions"
    for number in ("001", "002"):
        simulate_session(root, short(number=number))
    return root


@pytest.fixture(scope="module")
def processed(good, tmp_path_factory, make_settings, materialise, instance):
    """Root with both sessions after everything was made that is asked for here."""
    settings = make_settings(tmp_path_factory.mktemp("processed"))
    shutil.copytree(good, settings.root)
    for number in ("001", "002"):
        assert materialise(instance, settings, f"SP035/2023-03-03/{number}", (*QUICK, "imaging_frames_archive")).success
    return settings.root


@pytest.fixture
def spoil(processed, tmp_path, make_settings):
    """Take both sessions as they were made; put the raw files of a faulty recording in place of 001's."""

    def make(fault):
        settings = make_settings(tmp_path)
        shutil.copytree(processed, settings.root)
        bad = simulate_session(tmp_path / "bad", short(), faults=[fault]).session_path
        session = Platform.open(settings).session("SP035/2023-03-03/001")
        for file in look_at(session).delivered:
            (session.path / file.path).unlink()
        for folder in list(session.path.glob("raw_imaging_data_*")):
            if not (bad / folder.name).is_dir():
                shutil.rmtree(folder)
        shutil.copytree(bad, session.path, dirs_exist_ok=True)
        return settings, session

    return make


def failures(result):
    return {
        event.step_key.split(".")[0]: failure_message(event)
        for event in result.all_events
        if event.event_type_value == "STEP_FAILURE"
    }


def test_every_fault_of_the_simulator_is_walked():
    assert {*FAILS, *TOLERATED, *HARMLESS, *RENAMED, *TWO_CHANNELS} == set(FAULTS)


@pytest.mark.parametrize(("fault", "expected"), FAILS.items(), ids=FAILS)
def test_a_fault_fails_its_asset_by_name_and_spares_what_was_there(fault, expected, spoil, materialise, instance):
    asset, error = expected
    assets = (asset,) if asset == "imaging_frames_archive" else QUICK
    settings, session = spoil(fault)
    before = session.manifest(asset)
    result = materialise(instance, settings, session.key, assets)
    assert not result.success
    message = failures(result)[asset]
    assert message.partition(":")[0] == error, message
    assert ": expected " in message
    assert ", found " in message
    assert session.manifest(asset) == before
    assert verify_manifest(session.path, before) == (), "an archive too: it lies in the bout's folder"
    beside = materialise(instance, settings, "SP035/2023-03-03/002", assets)
    assert beside.success


@pytest.mark.parametrize(("fault", "expected"), TOLERATED.items(), ids=TOLERATED)
def test_what_is_tolerated_is_a_warning_in_metadata_and_a_check_that_does_not_pass(
    fault, expected, spoil, materialise, instance
):
    asset, check, severity = expected
    settings, session = spoil(fault)
    result = materialise(instance, settings, session.key, QUICK)
    assert result.success
    (materialisation,) = (m for m in result.asset_materializations_for_node(asset))
    assert "tolerated" in materialisation.metadata
    verdicts = {e.check_name: e for e in result.get_asset_check_evaluations() if e.asset_key == dg.AssetKey(asset)}
    assert not verdicts[check].passed
    assert verdicts[check].severity == severity


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_is_harmless_gives_the_same_result(fault, spoil, materialise, instance):
    settings, session = spoil(fault)
    times = [session.path.joinpath(f"alf/FOV_0{i}/mpci.times.npy").read_bytes() for i in range(3)]
    assert materialise(instance, settings, session.key, QUICK).success
    assert materialise(instance, settings, session.key, QUICK).success, "and again, with our own files beside the rig's"
    again = [session.path.joinpath(f"alf/FOV_0{i}/mpci.times.npy").read_bytes() for i in range(3)]
    assert again == times


@pytest.mark.parametrize(
    ("file", "asset"),
    [
        ("raw_sync_data/_timeline_DAQdata.raw.npy", "frame_times"),
        ("raw_sync_data/_timeline_DAQdata.meta.json", "frame_times"),
        ("raw_imaging_data_00/_ibl_rawImagingData.meta.json", "imaging_metadata"),
        ("raw_imaging_data_00/rawImagingData.times_scanImage.npy", "imaging_metadata"),
        ("raw_imaging_data_01/exptQC.mat", "frame_qc"),
        ("raw_imaging_data_00/badframes.mat", "frame_qc"),
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_file_cut_short_gives_a_named_error(file, asset, share, good, tmp_path, make_settings, materialise, instance):
    settings = make_settings(tmp_path)
    shutil.copytree(good, settings.root)
    path = settings.root / "SP035/2023-03-03/001" / file
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    result = materialise(instance, settings, "SP035/2023-03-03/001", QUICK)
    assert not result.success
    message = failures(result)[asset]
    assert message.partition(":")[0].endswith("Error"), message
    assert file in message, "the session's own file is named"


def test_unknown_suite2p_options_are_refused_before_any_work(good, tmp_path, make_settings, materialise, instance):
    settings = make_settings(tmp_path)
    shutil.copytree(good, settings.root)
    config = {"ops": {"motion_registered_frames": {"config": {"suite2p": {"no_such_option": 1}}}}}
    assets = ("imaging_metadata", "frame_qc", "motion_registered_frames")
    with pytest.raises(dg.DagsterInvalidConfigError, match='unexpected config entry "no_such_option"'):
        materialise(instance, settings, "SP035/2023-03-03/001", assets, **config)
    assert not (settings.root / "SP035/2023-03-03/001/.meso").exists()
