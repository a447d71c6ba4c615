"""No room on the disk, at any byte of any file: a named error, nothing half-written, and it goes on with room."""

import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from meso_core.archive import archive_bout
from meso_core.errors import StorageError
from meso_core.imaging.export import zip_plane
from meso_core.imaging.fovs import plane
from meso_core.scanimage import bin_per_plane, load_session_metadata, write_missing_meta
from meso_core.scanimage.metadata.bouts import local_bouts
from meso_core.scanimage.reference_images import reference_images
from meso_core.storage import Basis, MadeBy, Staging, publish


@contextmanager
def room_for(n_bytes):
    """No file may be larger; the system then says so as it says that a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """Session without metadata in its last bout."""
    from meso_core.simulate import preset, simulate_session

    return simulate_session(tmp_path_factory.mktemp("rig"), preset("tiny"), faults=["missing_metadata"]).session_path


@pytest.fixture(scope="module")
def fov(tmp_path_factory):
    """What suite2p leaves of a FOV, in small."""
    folder = tmp_path_factory.mktemp("suite2p") / "plane0"
    rng = np.random.default_rng(1)
    plane.save_objects(folder / "stat.npy", np.array([{"ypix": rng.random(999)}, {"ypix": rng.random(9)}], object))
    plane.save_array(folder / "F.npy", rng.random((2, 4000)))
    return folder


def _publish(out: Path, session: Path) -> None:
    staging = Staging(session, "rois")
    staging.write("alf/FOV_00/a.bin", bytes(5000))
    publish(session, staging.seal(), Basis("1"), MadeBy("run"))


WRITERS = {
    "reference images": lambda out, rig, fov: reference_images(rig, out, center_ml=0.0, center_ap=0.0),
    "metadata": lambda out, rig, fov: write_missing_meta(rig, out),
    "movies": lambda out, rig, fov: bin_per_plane(local_bouts(rig), load_session_metadata(rig).imaging, out),
    "archive": lambda out, rig, fov: archive_bout(rig / "raw_imaging_data_00", out / "b", workers=1),
    "zarr": lambda out, rig, fov: archive_bout(
        rig / "raw_imaging_data_00", out / "b", archive_format="zarr", workers=1
    ),
    "zip of ROIs": lambda out, rig, fov: zip_plane(fov, out / "rois.zip"),
    "array": lambda out, rig, fov: plane.save_array(out / "F.npy", np.arange(9000)),
    "objects": lambda out, rig, fov: plane.save_objects(out / "ops.npy", {"a": np.arange(9000)}),
}


def files_in(folder):
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("what", WRITERS)
def test_without_room_a_file_is_whole_or_not_there_and_the_error_says_what_to_do(what, rig, fov, tmp_path, tried):
    WRITERS[what](tmp_path / "whole", rig, fov)
    whole = files_in(tmp_path / "whole")
    assert whole
    made = {path.stat().st_size for path in whole.values() if path.stat().st_nlink == 1}
    limits = sorted({n for size in sorted(made)[-4:] for n in (0, size // 2, size - 1) if n < size})
    tried(f"full disks: {what}", len(limits))
    for limit in limits:
        out = tmp_path / f"room {limit}"
        with room_for(limit), pytest.raises(StorageError, match="expected room on the disk") as told:
            WRITERS[what](out, rig, fov)
        assert "Free space" in str(told.value)
        left = files_in(out) if out.exists() else {}
        assert all(left[name].read_bytes() == whole[name].read_bytes() for name in left), "nothing half-written"
        WRITERS[what](tmp_path / f"again {limit}", rig, fov)
        assert {n: p.read_bytes() for n, p in files_in(tmp_path / f"again {limit}").items()} == {
            n: p.read_bytes() for n, p in whole.items()
        }


@pytest.mark.parametrize("limit", [0, 10, 2500, 4999])
def test_without_room_nothing_is_published_and_with_room_all_is(limit, tmp_path, tried):
    tried("full disks: publication")
    session = tmp_path / "SP035" / "2023-03-03" / "001"
    session.mkdir(parents=True)
    with room_for(limit), pytest.raises(StorageError, match="expected room on the disk"):
        _publish(tmp_path, session)
    assert not [p for p in files_in(session) if not p.startswith(".meso/locks")]
    _publish(tmp_path, session)
    assert (session / "alf/FOV_00/a.bin").stat().st_size == 5000


@pytest.mark.parametrize("what", ["stage", "write", "publish"])
def test_a_session_that_is_moved_away_is_not_made_anew_as_an_empty_one(what, tmp_path):
    session = tmp_path / "SP035" / "2023-03-03" / "001"
    session.mkdir(parents=True)
    staging = Staging(session, "rois")
    staging.write("alf/a", b"1")
    sealed = staging.seal()
    session.rename(tmp_path / "moved")
    act = {
        "stage": lambda: Staging(session, "rois"),
        "write": lambda: staging.write("alf/b", b"2"),
        "publish": lambda: publish(session, sealed, Basis("1"), MadeBy("run")),
    }[what]
    with pytest.raises(StorageError, match="Bring the folder back"):
        act()
    assert not session.exists()
