"""The atlas: sources, cache, and what damaged or foreign files get."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from meso_core.errors import AtlasError, MissingInputError, SettingsError, StorageError
from meso_core.location import LocationSettings, atlas_grid, describe_atlas, load_atlas

NRRD = "ccf/annotation_25.nrrd"


def from_file(path, cache, resolution_um=25):
    return load_atlas(LocationSettings(atlas="file", atlas_path=path, resolution_um=resolution_um, cache_folder=cache))


def write_nrrd(path: Path, volume: np.ndarray) -> Path:
    """Write an annotation as Allen's files are: axes AP, DV, ML with AP fastest, gzip."""
    sizes = " ".join(map(str, volume.shape[::-1]))
    header = f"NRRD0004\ntype: uint32\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: gzip\n\n"
    path.write_bytes(header.encode() + gzip.compress(volume.astype("<u4").tobytes(), 1, mtime=0))
    return path


@pytest.fixture(scope="session")
def annotation_50(phantom) -> np.ndarray:
    """The phantom as Allen ids in Allen's axis order (ML, DV, AP in C order)."""
    ids = np.abs(phantom.regions.id).astype(np.uint32)[phantom.label]
    return np.ascontiguousarray(ids.transpose(1, 2, 0))


def test_the_volume_is_the_files_with_the_left_hemisphere_mirrored(allen_25, real_data):
    import nrrd

    ids, _ = nrrd.read(str(real_data / NRRD), index_order="C")
    expected = ids.transpose(2, 0, 1)[5::24].astype(np.int64)
    expected[:, : int(5739 / 25)] *= -1
    np.testing.assert_array_equal(allen_25.regions.id[allen_25.label[5::24]], expected)
    assert isinstance(allen_25.label, np.memmap)
    assert not allen_25.label.flags.writeable


def test_bregma_is_where_ibl_has_it(allen_25):
    """The axes are those of iblatlas itself: voxel (AP, ML, DV) of bregma is (5400, 5739, 332) µm over the size."""
    from iblatlas.atlas import get_bc

    ours, theirs = allen_25.bc, get_bc(25)
    for name in ("x0", "y0", "z0", "dx", "dy", "dz", "nx", "ny", "nz"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-12)
    grid = atlas_grid(allen_25)
    np.testing.assert_allclose(grid.origin_um, [-5739, 5400 - 527 * 25, 332 - 319 * 25])
    np.testing.assert_allclose(grid.end_um, [455 * 25 - 5739, 5400, 332])


def test_the_phantom_is_a_lateralised_brain_with_layers_in_order(phantom):
    grid = atlas_grid(phantom)
    assert describe_atlas(phantom).phantom
    assert "PHANTOM" in describe_atlas(phantom).caption
    i, j = np.round((np.array([2500, -3600]) - grid.origin_um[:2]) / 50).astype(int)
    column = grid.ids[grid.label[i, j, ::-1]]
    met = [int(k) for k in dict.fromkeys(column.tolist()) if k]
    assert met[:5] == [593, 821, 721, 778, 33]  # VISp layers 1, 2/3, 4, 5, 6a
    named = {str(phantom.regions.acronym[k]) for k in np.unique(phantom.label)}
    assert {"MOp1", "SSp-bfd4", "RSPd5", "VISp2/3", "cc", "root"} <= named
    left = phantom.regions.id[phantom.label[100, 40, :]]
    assert set(left[left != 0]) & set(-met_ids(phantom, 100, 228 - 40))


def met_ids(atlas, ap, ml):
    ids = atlas.regions.id[atlas.label[ap, min(ml, 227), :]]
    return np.unique(ids[ids != 0])


def test_nrrd_npz_and_npy_give_the_same_volume(annotation_50, phantom, tmp_path):
    volume = annotation_50.transpose(2, 0, 1)  # AP, ML, DV
    np.savez_compressed(tmp_path / "ids.npz", volume)
    np.save(tmp_path / "ids.npy", volume)
    np.savez_compressed(tmp_path / "annotation_50_lut_v01.npz", phantom.label)  # as iblatlas caches it
    for path in (
        write_nrrd(tmp_path / "ids.nrrd", annotation_50),
        tmp_path / "ids.npz",
        tmp_path / "ids.npy",
        tmp_path / "annotation_50_lut_v01.npz",
    ):
        atlas = from_file(path, tmp_path / "cache", 50)
        np.testing.assert_array_equal(atlas.label, phantom.label)
        assert describe_atlas(atlas).sha256 == describe_atlas(phantom).sha256


def test_threads_and_processes_share_one_volume_that_is_made_once(tmp_path, annotation_50):
    path = write_nrrd(tmp_path / "ids.nrrd", annotation_50)
    with ThreadPoolExecutor(4) as pool:
        atlases = list(pool.map(lambda _: from_file(path, tmp_path / "cache", 50), range(4)))
    (made,) = (tmp_path / "cache").glob("ids_*.npy")
    assert {Path(a.label.filename) for a in atlases} == {made}
    np.testing.assert_array_equal(atlases[0].label, atlases[3].label)
    before = made.stat().st_mtime_ns
    code = (
        "from meso_core.location import *; import sys; a = load_atlas(LocationSettings(atlas='file', "
        "atlas_path=sys.argv[1], resolution_um=50, cache_folder=sys.argv[2])); print(describe_atlas(a).sha256)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "cache")], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == describe_atlas(atlases[0]).sha256
    assert made.stat().st_mtime_ns == before


def test_a_cached_volume_that_was_damaged_is_made_anew(tmp_path, annotation_50):
    from meso_core.location.atlas.volumes import cached_volume

    calls = []

    def fill(volume):
        calls.append(1)
        volume[:] = 7

    def get():
        return cached_volume(tmp_path, "v", (8, 8, 8), fill, source="test", source_sha256="x")[0]

    get()
    np.testing.assert_array_equal(get(), 7)
    assert len(calls) == 1
    for damage in (lambda p: p.write_bytes(p.read_bytes()[:-100]), lambda p: p.write_bytes(p.read_bytes()[:-1] + b"x")):
        damage(tmp_path / "v.npy")
        np.testing.assert_array_equal(get(), 7)
    assert len(calls) == 3
    (tmp_path / "v.json").write_text("{")
    get()
    assert len(calls) == 4


def test_a_cache_folder_without_room_or_that_is_none_is_named(tmp_path, monkeypatch):
    from meso_core.location.atlas import volumes

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"No space left.*MESO_CACHE"):
        volumes.cached_volume(tmp_path, "v", (8, 8, 8), lambda v: None, source="test", source_sha256="x")
    assert not list(tmp_path.glob("*.npy"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="MESO_CACHE"):
        volumes.cached_volume(tmp_path / "file", "v", (8, 8, 8), lambda v: None, source="test", source_sha256="x")


def test_a_fill_that_dies_leaves_no_volume(tmp_path):
    from meso_core.location.atlas.volumes import cached_volume

    def fill(volume):
        volume[:2] = 1
        raise AtlasError("no room")

    with pytest.raises(AtlasError):
        cached_volume(tmp_path, "v", (8, 8, 8), fill, source="test", source_sha256="x")
    assert sorted(p.name for p in tmp_path.iterdir()) in (["v.lock"], [])


def spoilt(volume):
    foreign = volume.copy()
    foreign[100, 40, 100] = 4_000_000_000
    return {
        "truncated": (
            lambda p: write_nrrd(p, volume) and p.write_bytes(p.read_bytes()[:-5000]),
            "end too early|damaged",
        ),
        "damaged": (lambda p: _flip(write_nrrd(p, volume)), "damaged gzip"),
        "short": (lambda p: _shorten(p, volume), "bytes of voxels"),
        "no_nrrd": (lambda p: p.write_text("<html>404</html>"), "no nrrd header"),
        "wrong_shape": (lambda p: write_nrrd(p, volume[:, :, :200]), "sizes.*264 160 228"),
        "upside_down": (lambda p: write_nrrd(p, volume[:, ::-1]), "orientation"),
        "back_to_front": (lambda p: write_nrrd(p, volume[:, :, ::-1]), "orientation"),
        "foreign_ids": (lambda p: write_nrrd(p, foreign), "structure tree.*4000000000"),
    }


def _flip(path):
    content = bytearray(path.read_bytes())
    for k in range(9000, 9050):
        content[k] ^= 0xFF
    path.write_bytes(content)


def _shorten(path, volume):
    header = "NRRD0004\ntype: uint32\ndimension: 3\nsizes: 264 160 228\nendian: little\nencoding: raw\n\n"
    path.write_bytes(header.encode() + volume.tobytes()[: volume.nbytes // 2])


@pytest.mark.parametrize(
    "kind", ["truncated", "damaged", "short", "no_nrrd", "wrong_shape", "upside_down", "back_to_front", "foreign_ids"]
)
def test_a_volume_that_is_not_usable_is_refused_and_nothing_stays_behind(kind, annotation_50, tmp_path):
    make, says = spoilt(annotation_50)[kind]
    path, cache = tmp_path / "annotation_50.nrrd", tmp_path / "cache"
    make(path)
    with pytest.raises(AtlasError, match=says):
        from_file(path, cache, 50)
    assert not list(cache.glob("*.npy"))
    assert not [p for p in cache.glob(".*") if p.is_file()]


def test_arrays_of_the_wrong_shape_and_truncated_archives_are_refused(tmp_path, annotation_50):
    np.save(tmp_path / "small.npy", np.zeros((10, 10, 10), np.uint32))
    with pytest.raises(AtlasError, match="shape"):
        from_file(tmp_path / "small.npy", tmp_path / "cache", 50)
    np.savez_compressed(tmp_path / "ids.npz", annotation_50.transpose(2, 0, 1))
    whole = (tmp_path / "ids.npz").read_bytes()
    (tmp_path / "ids.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AtlasError, match="cut short"):
        from_file(tmp_path / "ids.npz", tmp_path / "cache", 50)


def test_a_path_with_nothing_there_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"gone\.nrrd.*no such file"):
        from_file(tmp_path / "gone.nrrd", tmp_path / "cache")


def test_download_is_checked_before_it_takes_its_name(tmp_path, annotation_50, monkeypatch):
    """The network is replaced by a copy: first cut short, then whole, then not asked again."""
    from iblatlas import atlas as ibl

    whole = write_nrrd(tmp_path / "whole.nrrd", annotation_50).read_bytes()
    served = [whole[: len(whole) // 2], whole]

    def download(target):
        Path(target).write_bytes(served.pop(0))
        return target

    monkeypatch.setattr(ibl, "_download_atlas_allen", download)
    settings = LocationSettings(atlas="allen", resolution_um=50, cache_folder=tmp_path / "cache")
    with pytest.raises(AtlasError, match="cut short"):
        load_atlas(settings)
    assert not (tmp_path / "cache" / "annotation_50.nrrd").exists()
    assert not describe_atlas(load_atlas(settings)).phantom
    toronto = load_atlas(LocationSettings(atlas="mri_toronto", resolution_um=50, cache_folder=tmp_path / "cache"))
    assert describe_atlas(toronto).name == "mri_toronto"
    assert not served


def test_without_internet_the_remedy_is_told(tmp_path, monkeypatch):
    from iblatlas import atlas as ibl

    def refuse(target):
        raise OSError("no route to host")

    monkeypatch.setattr(ibl, "_download_atlas_allen", refuse)
    with pytest.raises(MissingInputError, match=r"MESO_ATLAS=file and MESO_ATLAS_PATH .*MESO_ATLAS=phantom"):
        load_atlas(LocationSettings(atlas="allen", resolution_um=10, cache_folder=tmp_path))


BAD_SETTINGS = [
    {"atlas": "waxholm"},
    {"resolution_um": 20},
    {"resolution_um": True},
    {"atlas": "file"},
    {"atlas_path": "/a.nrrd"},
    {"normal_rule": "mean"},
    {"frame": "paxinos"},
]


@pytest.mark.parametrize("values", BAD_SETTINGS, ids=lambda v: "_".join(v))
def test_settings_that_are_not_allowed_are_refused(values):
    with pytest.raises(SettingsError, match=next(iter(values)) + "|atlas_path"):
        LocationSettings(**values)


def test_the_cache_folder_is_a_value_and_lies_in_the_home_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("MESO_CACHE", "/elsewhere")  # that is the platform's: it passes the folder
    assert LocationSettings().cache_folder == Path.home() / ".cache" / "meso"
    assert LocationSettings(cache_folder=tmp_path).cache_folder == tmp_path
    assert LocationSettings(cache_folder="~/volumes").cache_folder == Path.home() / "volumes"


def test_importing_the_package_loads_no_heavy_library():
    code = (
        "import sys, meso_core.location; "
        "heavy = ('numba', 'scipy', 'matplotlib', 'iblatlas', 'pandas', 'nrrd', 'filelock'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_conversion_record_is_readable(tmp_path, annotation_50):
    from_file(write_nrrd(tmp_path / "ids.nrrd", annotation_50), tmp_path / "cache", 50)
    record = json.loads(next((tmp_path / "cache").glob("ids_*.json")).read_text())
    assert record["source"] == "ids.nrrd"
    assert record["shape"] == [264, 228, 160]
