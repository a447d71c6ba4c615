"""Metadata of a session: the rig's are used, missing ones made, disagreement is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from meso_core.errors import InputFileError, MesoWarning, MetadataError, MissingInputError
from meso_core.scanimage import load_meta_files, local_bouts, write_missing_meta

META, TIMES = "_ibl_rawImagingData.meta.json", "rawImagingData.times_scanImage.npy"


@pytest.fixture
def session(tiny_session, tmp_path):
    """Copy of the raw imaging data of the simulated session: two bouts."""
    for bout in ("raw_imaging_data_00", "raw_imaging_data_01"):
        shutil.copytree(tiny_session.session_path / bout, tmp_path / "001" / bout)
    return tmp_path / "001"


def change(session, bout, edit):
    path = session / f"raw_imaging_data_{bout:02d}" / META
    meta = json.loads(path.read_text())
    edit(meta)
    path.write_text(json.dumps(meta))


def snapshot(folder: Path):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


def test_metadata_of_the_rig_are_those_of_the_session(session):
    before = snapshot(session)
    meta, metas = load_meta_files(session)
    assert meta is metas[0]
    assert [m["nFrames"] for m in metas] == [80, 40]
    assert meta["FOV"] == json.loads((session / "raw_imaging_data_00" / META).read_text())["FOV"]
    assert snapshot(session) == before


@pytest.mark.parametrize("gone", [0, 1])
def test_a_bout_without_metadata_gets_those_of_its_tifs_and_the_centre_of_the_others(session, gone):
    want, _ = load_meta_files(session)
    folder = session / f"raw_imaging_data_{gone:02d}"
    times = np.load(folder / TIMES)
    (folder / META).unlink()
    (folder / TIMES).unlink()
    before = snapshot(session)
    meta, metas = load_meta_files(session)
    assert [m["nFrames"] for m in metas] == [80, 40]
    assert meta["centerMM"] == want["centerMM"]
    assert [f["lineIdx"] for f in metas[gone]["FOV"]] == [f["lineIdx"] for f in want["FOV"]]

    made = write_missing_meta(session, session.parent / "out")
    assert [p.relative_to(session.parent / "out").as_posix() for p in made] == [
        f"{folder.name}/{META}",
        f"{folder.name}/{TIMES}",
    ]
    assert json.loads(made[0].read_text())["version"] == "0.2.1"
    np.testing.assert_allclose(np.load(made[1]), times, atol=1e-9)
    assert snapshot(session) == before


def test_only_what_is_missing_is_made(session):
    assert write_missing_meta(session, session.parent / "out") == ()
    (session / "raw_imaging_data_01" / TIMES).unlink()
    made = write_missing_meta(session, session.parent / "out")
    assert [p.name for p in made] == [TIMES]
    assert np.load(made[0]).shape == (40,)


def test_without_any_metadata_the_window_centre_must_be_given(session):
    for path in session.rglob(META):
        path.unlink()
    with pytest.raises(MetadataError, match=r"centerMM.*Set MESO_WINDOW_CENTER_ML"):
        load_meta_files(session)
    with pytest.raises(MetadataError, match="centerMM"):
        write_missing_meta(session, session.parent / "out")
    meta, _ = load_meta_files(session, center_ml=2.6, center_ap=-2.0)
    assert (meta["centerMM"]["ML"], meta["centerMM"]["AP"]) == (2.6, -2.0)


def test_a_bout_with_neither_metadata_nor_tifs_is_an_error(session):
    for path in (session / "raw_imaging_data_01").iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(MissingInputError, match=r"raw_imaging_data_01.*or the tifs"):
        load_meta_files(session)


def test_a_session_without_bouts_is_an_error(tmp_path):
    with pytest.raises(MissingInputError, match="raw_imaging_data_NN"):
        load_meta_files(tmp_path)
    with pytest.raises(MissingInputError, match="raw_imaging_data_NN"):
        local_bouts(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": "0.2.1", "FOV": ['])
def test_a_damaged_file_is_named(session, text):
    (session / "raw_imaging_data_01" / META).write_text(text)
    with pytest.raises(InputFileError, match=r"raw_imaging_data_01.*expected"):
        load_meta_files(session)


def test_two_metadata_files_in_a_bout_are_an_error(session):
    shutil.copy(
        session / "raw_imaging_data_00" / META, session / "raw_imaging_data_00" / "old_rawImagingData.meta.json"
    )
    with pytest.raises(InputFileError, match="one metadata file"):
        load_meta_files(session)


def set_field(path, value):
    *parents, last = path

    def edit(meta):
        for name in parents:
            meta = meta[name]
        meta[last] = value

    return edit


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("FOV", 1, "Zs"), 100, r"FOV\[1\]\.Zs"),
        (("FOV", 2, "lineIdx"), list(range(1, 81)), r"FOV\[2\]\.lineIdx"),
        (("FOV", 0, "Deg", "topLeft"), [9, 9], r"FOV\[0\]\.Deg\.topLeft"),
        (("channelSaved",), [1, 2], "channelSaved"),
        (("centerMM", "ML"), 1.2, r"centerMM\.ML"),
        (("scanImageParams", "hRoiManager", "scanFrameRate"), 12.0, r"scanImageParams\.hRoiManager\.scanFrameRate"),
    ],
)
def test_bouts_that_disagree_are_refused_with_bout_field_and_values(session, path, value, field):
    change(session, 1, set_field(path, value))
    with pytest.raises(MetadataError, match=rf"raw_imaging_data_01.*field '{field}'.*as in raw_imaging_data_00"):
        load_meta_files(session)


def test_a_missing_fov_is_disagreement(session):
    change(session, 1, lambda meta: meta["FOV"].pop())
    with pytest.raises(MetadataError, match="field 'FOV'"):
        load_meta_files(session)


def test_rates_that_are_measured_anew_may_differ_a_little(session):
    def drift(meta):
        meta["scanImageParams"]["hScan2D"]["scannerFrequency"] *= 1.0002
        meta["scanImageParams"]["hRoiManager"]["linePeriod"] /= 1.0002

    change(session, 1, drift)
    meta, (first, second) = load_meta_files(session)
    periods = [m["scanImageParams"]["hRoiManager"]["linePeriod"] for m in (meta, first, second)]
    assert periods[0] == periods[1] != periods[2], "the first bout holds, and each bout keeps its own"


def test_other_differences_are_told_and_the_first_bout_holds(session):
    change(session, 1, set_field(("PMTGain",), [0.5]))
    with pytest.warns(MesoWarning, match="raw_imaging_data_01: metadata differ .* in PMTGain"):
        meta, _ = load_meta_files(session)
    assert meta["PMTGain"] == []
