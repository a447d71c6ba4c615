"""A session as other people's folders hold it gives what a clean one gives."""

import shutil

import dagster as dg

from meso_assets.io.resources import Platform
from meso_core.session import raw_tifs
from meso_core.simulate import preset, simulate_session

ASSETS = ["imaging_metadata", "imaging_frames_archive", "frame_qc", "frame_times"]
LITTER = ("._x_00001.tif", ".DS_Store", "Thumbs.db", "desktop.ini", "x_00002.tif.part", "exptQC.mat~")


def untidy(session, disk):
    """Number without zeros, links to another disk, another name of the DAQ's folder, and litter everywhere."""
    session = session.rename(session.with_name("1"))
    (session / "raw_sync_data").rename(session / "raw_timeline_data")
    for folder in [session, *(path for path in session.rglob("*") if path.is_dir())]:
        for name in LITTER:
            (folder / name).write_bytes(b"no data")
        (folder / "@eaDir").mkdir()
        (folder / "@eaDir" / "x_00001.tif").write_bytes(b"no data")
        for file in list(folder.glob("*")):
            if file.is_file():
                shutil.copyfile(session / ".DS_Store", folder / f"._{file.name}")
    disk.mkdir()
    (session / "raw_imaging_data_01").rename(disk / "01")
    (session / "raw_imaging_data_01").symlink_to(disk / "01")
    for tif in raw_tifs(session / "raw_imaging_data_00"):
        tif.rename(disk / tif.name)
        tif.symlink_to(disk / tif.name)


def test_a_session_as_labs_have_it_gives_the_results_of_a_clean_one(tmp_path, make_settings, materialise):
    versions = []
    for name in ("clean", "untidy"):
        settings = make_settings(tmp_path / name)
        made = simulate_session(settings.root, preset("tiny"))
        if name == "untidy":
            untidy(made.session_path, tmp_path / "disk")
        with dg.DagsterInstance.ephemeral() as instance:
            result = materialise(instance, settings, made.key, ASSETS)
            assert result.success, name
            (told,) = result.asset_materializations_for_node("imaging_metadata")
        session = Platform.open(settings).session(str(made.key))
        made = {asset: session.manifest(asset) for asset in ASSETS}
        archives = made.pop("imaging_frames_archive").contents  # whose tifs have the time of their simulation
        versions.append(({asset: manifest.data_version for asset, manifest in made.items()}, archives))
    assert versions[0] == versions[1]
    tolerated = told.metadata["tolerated"].value
    for why in ("a copy that is not finished: exptQC.mat~, ", "a hidden file: .DS_Store, ", "left by Windows: "):
        assert tolerated.count(f"ignored, {why}") == 1, "once, however many there are"
