"""suite2p's results as ALF datasets, as a zip, and as pictures."""

from __future__ import annotations

import ast
import io
import shutil
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_trees import source_tree

from meso_core.datasets import check_datasets
from meso_core.errors import InputFileError, MissingInputError
from meso_core.imaging import (
    detection_qc,
    export_rois,
    load_detection,
    load_registration,
    registration_figure,
    registration_qc,
    rois_figure,
    zip_plane,
)
from meso_core.imaging.export import roi_uuids
from meso_core.qc import Verdict
from meso_core.storage import hash_file

IDENTITY = "SP035/2023-03-03/001/FOV_00"


@pytest.fixture(scope="module")
def plane(processed: tuple[Path, Any]) -> Path:
    return processed[0] / "plane0"


def test_datasets_keep_the_contract_and_suite2ps_values(plane: Path) -> None:
    datasets = export_rois(plane, identity=IDENTITY)
    check_datasets("FOV_00", datasets)
    stat = np.load(plane / "stat.npy", allow_pickle=True)
    np.testing.assert_array_equal(datasets["mpci.ROIActivityF"], np.load(plane / "F.npy").T)
    np.testing.assert_array_equal(datasets["mpci.ROINeuropilActivityF"], np.load(plane / "Fneu.npy").T)
    np.testing.assert_array_equal(datasets["mpci.ROIActivityDeconvolved"], np.load(plane / "spks.npy").T)
    assert datasets["mpci.ROIActivityF"].shape == (600, len(stat))
    masks, around = datasets["mpciROIs.masks"], datasets["mpciROIs.neuropilMasks"]
    for i in (0, len(stat) // 2, len(stat) - 1):
        dense = np.zeros((160, 160), np.float32)
        dense[stat[i]["ypix"], stat[i]["xpix"]] = stat[i]["lam"]
        np.testing.assert_array_equal(masks[i].todense(), dense)
        y, x = datasets["mpciROIs.stackPos"][i, :2]
        assert dense[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].any()
        assert not (around[i].todense() & (dense > 0)).any()
        assert around[i].sum() >= 350


def test_rois_that_a_person_merged_and_drew_in_suite2ps_gui_are_exported(plane: Path, tmp_path: Path) -> None:
    shutil.copytree(plane, folder := tmp_path / "plane0")
    before = export_rois(folder, identity=IDENTITY)
    stat = np.load(folder / "stat.npy", allow_pickle=True)
    given = {"med": [80.5, 79.5], "inmerge": -1, "imerge": np.array([0, 2]), "iplane": 0}
    merged = {**given, **{name: np.append(stat[0][name], stat[2][name]) for name in ("ypix", "xpix", "lam")}}
    drawn = {**given, "imerge": [], "manual": 1, "ypix": np.arange(3), "xpix": np.arange(3), "lam": np.ones(3)}
    np.save(folder / "stat.npy", np.concatenate((stat, np.array([merged, drawn]))))
    for name in ("F", "Fneu", "spks"):
        trace = np.load(folder / f"{name}.npy")
        np.save(folder / f"{name}.npy", np.concatenate((trace, trace[:2])))
    iscell = np.load(folder / "iscell.npy")
    np.save(folder / "iscell.npy", np.concatenate((iscell, [[1, 0.9], [1, 1]])))
    after = export_rois(folder, identity=IDENTITY)
    check_datasets("FOV_00", after)
    around, n = after["mpciROIs.neuropilMasks"], len(stat)
    np.testing.assert_array_equal(around[:n].todense(), before["mpciROIs.neuropilMasks"].todense())
    np.testing.assert_array_equal(around[n].todense(), around[0].todense() | around[2].todense())
    assert not around[n + 1].todense().any(), "not known"
    np.testing.assert_array_equal(after["mpciROIs.uuids"][:n], before["mpciROIs.uuids"])
    assert len({*after["mpciROIs.uuids"]}) == n + 2


def test_neuropil_traces_are_the_means_under_the_exported_masks(plane: Path) -> None:
    datasets = export_rois(plane, identity=IDENTITY)
    frames = np.fromfile(plane / "imaging.frames_motionRegistered.bin", np.int16).reshape(600, 160, 160)
    mask = datasets["mpciROIs.neuropilMasks"][3].todense()
    expected = frames[:, mask].mean(axis=1)
    np.testing.assert_allclose(datasets["mpci.ROINeuropilActivityF"][:, 3], expected, rtol=1e-4)


def test_roi_identities_come_from_the_content(plane: Path) -> None:
    stat = np.load(plane / "stat.npy", allow_pickle=True)
    uuids = roi_uuids(stat, IDENTITY)
    assert len({uuid.UUID(u) for u in uuids}) == len(stat)
    np.testing.assert_array_equal(uuids, roi_uuids(stat, IDENTITY))
    assert not set(uuids) & set(roi_uuids(stat, IDENTITY.replace("00", "01")))
    order = np.random.default_rng(0).permutation(len(stat[0]["ypix"]))
    shuffled = [{k: stat[0][k][order] for k in ("ypix", "xpix", "lam")}, *stat[1:]]
    np.testing.assert_array_equal(uuids, roi_uuids(np.array(shuffled, object), IDENTITY))
    stat[0]["lam"] = stat[0]["lam"] * 1.5
    changed = roi_uuids(stat, IDENTITY)
    assert changed[0] != uuids[0]
    np.testing.assert_array_equal(changed[1:], uuids[1:])


def test_curation_by_hand_reaches_the_datasets(plane: Path, tmp_path: Path) -> None:
    copy = tmp_path / "plane0"
    shutil.copytree(plane, copy)
    iscell = np.load(copy / "iscell.npy")
    iscell[:, 0] = np.arange(len(iscell)) % 2
    np.save(copy / "iscell.npy", iscell)
    types = export_rois(copy, identity=IDENTITY)["mpciROIs.mpciROITypes"]
    np.testing.assert_array_equal(types, np.arange(len(iscell)) % 2)


def test_files_that_do_not_belong_together_are_named(plane: Path, tmp_path: Path) -> None:
    copy = tmp_path / "plane0"
    shutil.copytree(plane, copy)
    np.save(copy / "F.npy", np.load(copy / "F.npy")[:, :-1])
    with pytest.raises(InputFileError, match=r"F\.npy.*600"):
        export_rois(copy, identity=IDENTITY)
    (copy / "stat.npy").write_bytes((copy / "stat.npy").read_bytes()[:1000])
    with pytest.raises(InputFileError, match=r"stat\.npy"):
        export_rois(copy, identity=IDENTITY)
    (copy / "stat.npy").unlink()
    with pytest.raises(MissingInputError, match=r"stat\.npy"):
        export_rois(copy, identity=IDENTITY)


def gui_loader() -> Any:
    """Take suite2p's own GUI loader from its source; the rest of that module needs a display."""
    import importlib.util

    package = importlib.util.find_spec("suite2p")
    assert package is not None
    assert package.submodule_search_locations
    module = source_tree(Path(package.submodule_search_locations[0]) / "gui" / "io.py")
    function = next(n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "load_files")
    namespace: dict[str, Any] = {"np": np, "os": __import__("os")}
    exec(ast.unparse(function), namespace)
    return namespace["load_files"]


def test_unzipped_planes_open_in_suite2ps_gui_loader(plane: Path, tmp_path: Path) -> None:
    packed = tmp_path / "_suite2p_ROIData.raw.zip"
    content = zip_plane(plane, packed)
    assert content == hash_file(packed)
    with zipfile.ZipFile(packed) as archive:
        assert not [n for n in archive.namelist() if n.endswith((".bin", ".log")) or n.startswith(".")]
        archive.extractall(tmp_path / "open")
    loaded = gui_loader()(str(tmp_path / "open" / "stat.npy"))
    assert loaded is not None
    stat, ops, traces, _, _, iscell, probability, _, _, has_red = loaded
    assert len(stat) == len(traces) == len(iscell) == len(probability)
    assert (ops["Ly"], ops["Lx"], ops["nframes"], has_red) == (160, 160, 600, False)
    assert ops["meanImg"].shape == ops["meanImgE"].shape == (160, 160)
    assert zip_plane(plane, tmp_path / "again.zip") == content


def test_pictures_are_small_whole_and_the_same_again(plane: Path) -> None:
    from PIL import Image

    for draw, options in ((registration_figure, {"rate_hz": 6.0}), (rois_figure, {"um_per_px": 1.37})):
        drawn = draw(plane, **options)  # type: ignore[operator]
        assert len(drawn.small) * 4 / 3 <= 8_000
        assert draw(plane, **options) == drawn  # type: ignore[operator]
        with Image.open(io.BytesIO(drawn.small)) as picture, Image.open(io.BytesIO(drawn.full)) as full:
            assert min(picture.size) >= 100
            assert full.size[0] >= 900
            assert len(np.unique(np.asarray(full.convert("L")))) > 20


def test_frames_that_moved_as_far_as_was_looked_for_are_counted(plane: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(plane, tmp_path / "plane0"))
    assert not load_registration(copy).at_limit.any()
    outputs = np.load(copy / "reg_outputs.npy", allow_pickle=True).item()
    outputs["xoff"][[5, 6, 7]] = 8, -8, 7  # 0.05 of 160 px are 8
    outputs["yoff"][9] = -8
    outputs["badframes0"][6] = True  # the experimenter's
    np.save(copy / "reg_outputs.npy", outputs)
    assert list(np.flatnonzero(load_registration(copy).at_limit)) == [5, 9]


def test_verdicts_follow_the_numbers(plane: Path) -> None:
    from dataclasses import replace

    result = load_registration(plane)
    residual, bad, reach = registration_qc(result, 0)
    assert (residual.value, residual.verdict) == (None, Verdict.WARNING)
    assert (bad.verdict, bad.value) == (Verdict.PASS, round(result.bad_frames.mean(), 6))
    moving = replace(result, reg_dx=np.full((30, 4), 1.5), bad_frames=np.arange(600) < 400)
    assert [q.verdict for q in registration_qc(moving, 0)] == [Verdict.WARNING, Verdict.FAIL, Verdict.PASS]
    still = replace(result, reg_dx=np.full((30, 4), 0.2), bad_frames=np.arange(600) < 100)
    assert [q.verdict for q in registration_qc(still, 0)] == [Verdict.PASS, Verdict.WARNING, Verdict.PASS]
    assert (reach.check, reach.verdict, reach.value) == ("shifts_within_reach", Verdict.PASS, 0.0)
    far = replace(result, at_limit=np.arange(600) < 7)
    assert registration_qc(far, 0)[2].verdict is Verdict.WARNING
    found = load_detection(plane)
    assert detection_qc(found, 0)[0].verdict is Verdict.PASS
    assert detection_qc(replace(found, n_cells=0), 0)[0].verdict is Verdict.WARNING
