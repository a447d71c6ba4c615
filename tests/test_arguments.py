"""Public functions take what the field passes: paths as text, one or many; else they say what to pass."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

import meso_core
from meso_core.errors import MetadataError, MissingInputError, SettingsError, TimingError
from meso_core.imaging import FovJob, suite2p_options, zip_plane
from meso_core.scanimage import load_session_metadata
from meso_core.session import SessionKey, imaging_bouts, raw_tifs
from meso_core.timing import SoftwareEvent, find_frame_times, load_software_events, session_frame_qc


@pytest.fixture(scope="module")
def bout(tiny_session):
    return tiny_session.session_path / "raw_imaging_data_00"


@pytest.fixture
def plane(tmp_path):
    """suite2p's results of a FOV of 8 × 8 px: one ROI, four frames."""
    folder = tmp_path / "plane0"
    folder.mkdir()
    roi = {"ypix": np.array([1, 2]), "xpix": np.array([3, 3]), "lam": np.ones(2), "med": [1, 3]}
    np.save(folder / "stat.npy", np.array([roi | {"neuropil_mask": np.array([0, 1])}], dtype=object))
    np.save(folder / "iscell.npy", np.ones((1, 2)))
    for name in ("F", "Fneu", "spks"):
        np.save(folder / f"{name}.npy", np.ones((1, 4)))
    registered = {"badframes": np.zeros(4, bool), "meanImg": np.ones((8, 8))}
    np.save(folder / "reg_outputs.npy", np.array(registered, dtype=object))
    return folder


def same(a, b):
    """Whether two results are equal, arrays and paths inside of them too."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    return a == b


#: Function → what it is called with, a path given as ``as_``, and what of the result can be compared.
CALLS = {
    "load_meta_files": lambda as_, s, tmp: meso_core.load_meta_files(as_(s)),
    "extract_imaging_meta": lambda as_, s, tmp: meso_core.extract_imaging_meta(
        [as_(tif) for tif in raw_tifs(imaging_bouts(s)[0])], 2.6, -2
    ),
    "bin_per_plane": lambda as_, s, tmp: [
        fov.n_frames for fov in meso_core.bin_per_plane(as_(s), meso_core.load_meta_files(s)[0], as_(tmp / "out"))
    ],
    "consolidate_frame_qc": lambda as_, s, tmp: (
        meso_core.consolidate_frame_qc([as_(folder) for folder in imaging_bouts(s)], [80, 40]).values
    ),
    "extract_frame_times": lambda as_, s, tmp: meso_core.extract_frame_times(as_(s)).times,
    "load_triangulation": lambda as_, s, tmp: meso_core.load_triangulation(path=as_(mesh(tmp))),
    "get_provenance": lambda as_, s, tmp: meso_core.get_provenance(as_(tmp / "mpciROIs.mlapdv_estimate.npy")),
    "register_snapshots": lambda as_, s, tmp: meso_core.register_snapshots(as_(s), session="SP035/2023-03-03/001"),
    "compress_tifs": lambda as_, s, tmp: (
        meso_core.compress_tifs(as_(imaging_bouts(s)[0]), as_(tmp / "a.tar.bz2")).members
    ),
    "imaging_bouts": lambda as_, s, tmp: imaging_bouts(as_(s)),
    "raw_tifs": lambda as_, s, tmp: raw_tifs(as_(imaging_bouts(s)[0])),
    "load_session_metadata": lambda as_, s, tmp: load_session_metadata(as_(s)),
    "session_frame_qc": lambda as_, s, tmp: (
        session_frame_qc([as_(folder) for folder in imaging_bouts(s)], load_session_metadata(s)).fovs[0].values
    ),
    "find_frame_times": lambda as_, s, tmp: (
        find_frame_times(
            as_(s / "raw_sync_data"), load_session_metadata(s), session=SessionKey("SP035", "2023-03-03", "001")
        ).times
    ),
    "load_software_events": lambda as_, s, tmp: load_software_events(as_(s / "raw_sync_data")),
}


def mesh(folder):
    path = folder / "mesh.npz"
    points = [[-1e3, -1e3, 0], [1e3, -1e3, 0], [0, 1e3, 0], [0, 0, 500]]
    np.savez(path, points=points, connectivity_list=[[0, 1, 3], [1, 2, 3], [2, 0, 3]])
    return path


@pytest.mark.parametrize("name", CALLS)
def test_a_path_may_be_text(name, tiny_session, tmp_path):
    results = []
    for as_ in (Path, str):
        folder = tmp_path / as_.__name__
        folder.mkdir()
        results.append(CALLS[name](as_, tiny_session.session_path, folder))
    assert same(*results)


def test_the_folder_of_a_fov_may_be_text(plane, tmp_path):
    for folder in (plane, str(plane)):
        assert meso_core.export_rois(folder, identity="SP035/2023-03-03/001/FOV_00")["mpciROIs.uuids"].shape == (1,)
    assert zip_plane(str(plane), str(tmp_path / "rois.zip")).size == (tmp_path / "rois.zip").stat().st_size


def test_a_work_order_takes_its_folders_as_text(tiny_session):
    options = suite2p_options(meso_core.load_meta_files(tiny_session.session_path)[0], 0)
    job = FovJob("suite2p/plane0", options)
    assert job == FovJob(Path("suite2p/plane0"), options) == FovJob.from_json(job.to_json())
    assert job.log_path == Path("suite2p/plane0/run.log")


def test_one_tif_any_iterable_of_tifs_and_no_other_centre_than_numbers(bout):
    tifs = raw_tifs(bout)
    whole, times = meso_core.extract_imaging_meta(iter(tifs), 2.6, -2)
    assert whole["nFrames"] == times.size == 80
    for one in (tifs[0], str(tifs[0])):
        meta, times = meso_core.extract_imaging_meta(one, 2.6, -2)
        assert meta["nFrames"] == times.size <= 80
    with pytest.raises(MissingInputError, match="at least one tif"):
        meso_core.extract_imaging_meta(iter(()), 2.6, -2)
    for wrong in (None, "2.6", float("nan")):
        with pytest.raises(MetadataError, match=r"center_ap: expected mm from bregma, found .*surgery record"):
            meso_core.extract_imaging_meta(tifs, 2.6, wrong)
        with pytest.raises(MetadataError, match=r"center_ml: expected mm from bregma"):
            meso_core.extract_imaging_meta(tifs, wrong, -2)


def test_one_bout_needs_no_list(tmp_path):
    savemat(
        tmp_path / "exptQC.mat", {"frameQC_frames": [0, 1, 0], "frameQC_names": np.array(["ok", "b"], dtype=object)}
    )
    savemat(tmp_path / "badframes.mat", {"badframes": [1]})
    assert meso_core.consolidate_frame_qc(str(tmp_path), 3).values.tolist() == [0, 1, 0]


ALYX_GENOTYPE = [
    {"allele": "Camk2a-tTA", "zygosity": 1},
    {"allele": "tetO-G6f", "zygosity": 2},
]


@pytest.mark.parametrize(
    "genotype",
    [
        ["Camk2a-tTA", "tetO-G6f"],
        ("Camk2a-tTA", "tetO-G6f"),
        (name for name in ["Camk2a-tTA", "tetO-G6f"]),
        "Camk2a-tTA;tetO-G6f",
        "tetO-G6f; Camk2a-tTA",
        "Camk2a-tTA, tetO-G6f",
        "tetO-G6f",
        ALYX_GENOTYPE,
        ALYX_GENOTYPE[1],
    ],
    ids=["list", "tuple", "generator", "text", "text with spaces", "commas", "one name", "Alyx", "one of Alyx"],
)
def test_a_genotype_tells_tau_in_every_form_that_the_field_holds_it_in(genotype):
    assert meso_core.get_default_tau(genotype) == 0.7


@pytest.mark.parametrize("genotype", [[3], [None], [{"zygosity": 1}], 7, None])
def test_a_genotype_in_no_such_form_is_refused_with_what_to_give(genotype):
    with pytest.raises(SettingsError, match=r"genotype: expected names of alleles, found .*';' between them"):
        meso_core.get_default_tau(genotype)


def test_bout_edges_take_the_arguments_that_ibllib_passes(tiny_session):
    session = tiny_session.session_path
    events = load_software_events(session / "raw_sync_data")
    assert events
    pulses = meso_core.extract_frame_times(session).pulses
    who = {"subject": "SP035", "date": "2023-03-03"}
    folders = [folder.name for folder in imaging_bouts(session)]
    table = pd.DataFrame({name: [getattr(e, name) for e in events] for name in ("time", "name", "info")})
    want = meso_core.get_bout_edges(pulses, folders, events, **who)
    assert want.shape == (2, 2)
    shuffled, nameless = table.sample(frac=1, random_state=1), table[table["name"] == "mpepUDP"].drop(columns="name")
    for given in (table, shuffled, nameless, iter(events)):
        assert np.array_equal(meso_core.get_bout_edges(pulses, folders, given, **who), want)
    for none in (None, (), table[:0]):
        by_gaps = meso_core.get_bout_edges(list(pulses), None, none)
        assert np.array_equal(by_gaps, meso_core.get_bout_edges(pulses))
    assert np.array_equal(meso_core.get_bout_edges(pulses, set(folders), None), want)
    with pytest.raises(SettingsError, match=r"events: expected SoftwareEvent entries.*load_software_events"):
        meso_core.get_bout_edges(pulses, folders, table[["time"]], **who)
    with pytest.raises(SettingsError, match="events: expected"):
        meso_core.get_bout_edges(pulses, folders, 3)
    assert np.array_equal(meso_core.get_bout_edges(pulses[pulses < want[1, 0]], folders[0], None), want[:1])
    with pytest.raises(TimingError):
        meso_core.get_bout_edges([], None, None)


def test_the_session_is_told_by_its_folder_however_the_path_is_written(tiny_session, tmp_path, monkeypatch):
    """Subject and date find the software events: with ``..``, by a link, from within."""
    session = tmp_path / "Subjects" / "SP035" / "2023-03-03" / "001"
    shutil.copytree(tiny_session.session_path, session)
    want = meso_core.extract_frame_times(session)
    assert want.found.source == "software events"
    (tmp_path / "link").symlink_to(session)
    (tmp_path / "SP035" / "2023-03-03").mkdir(parents=True)
    session.rename(tmp_path / "moved")
    (tmp_path / "SP035" / "2023-03-03" / "001").symlink_to(tmp_path / "moved")
    linked_away = tmp_path / "SP035" / "2023-03-03" / "001"
    assert meso_core.extract_frame_times(linked_away).found.source == "software events"
    (tmp_path / "moved").rename(session)
    monkeypatch.chdir(session)
    for path in (
        ".",
        session / "raw_imaging_data_00" / "..",
        "../001",
        tmp_path / "link",
        session.parent / "." / "001",
    ):
        found = meso_core.extract_frame_times(path)
        assert found.found.source == "software events", path
        assert same(found.times, want.times)


def test_events_may_be_given_one_by_one():
    pulses = np.r_[np.arange(10.0, 11, 0.1), np.arange(20.0, 21, 0.1)]
    event = SoftwareEvent(19.5, "mpepUDP", "BlockStart SP035 20230303 1")
    edges = meso_core.get_bout_edges(pulses, (), [event, replace(event, time=21.5, info="BlockEnd SP035 20230303 1")],
                                     subject="SP035", date="2023-03-03")  # fmt: skip
    np.testing.assert_allclose(edges, [[20, 20.9]])
