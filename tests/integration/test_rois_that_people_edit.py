"""What a person saves in suite2p's GUI: it is taken over, or given up where that is asked for, and in nobody's way."""

import dagster as dg
import numpy as np
import pytest

from meso_assets.runs.reproduce import _by_hand
from meso_assets.runs.status.status import State
from meso_core.storage import verify_manifest
from tests.integration.staleness import status_cells
from tests.integration.three_fields import FRAMES, KEY, ROIS, failed_steps

pytestmark = [
    pytest.mark.usefixtures("without_workers"),
    pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning"),
]


def test_new_rois_replace_edited_labels_when_they_are_given_up_and_not_before(copied, materialise):
    settings, session = copied
    path = session.path / "suite2p" / "plane1" / "iscell.npy"
    edited = np.load(path)
    edited[:, 0] = 1 - edited[:, 0]
    np.save(path, edited)
    other = settings.model_copy(update={"suite2p": {"threshold_scaling": 2.0}})
    before = session.manifest(ROIS)
    with dg.DagsterInstance.ephemeral() as fresh:
        (told,) = failed_steps(materialise(fresh, other, KEY, (ROIS,))).values()
        assert "`meso run` with --discard-curation" in told
        np.testing.assert_array_equal(np.load(path), edited)
        assert session.manifest(ROIS) == before
        given_up = {"ops": {ROIS: {"config": {"discard_curation": True}}}}
        result = materialise(fresh, other, KEY, (ROIS,), **given_up)
        assert failed_steps(result) == {}
        assert status_cells(fresh, other, session.key)[ROIS].state is State.DONE
    is_cell, probability = np.load(path).T
    np.testing.assert_array_equal(is_cell > 0, probability > 0.5, "what suite2p says of the new ones")
    assert session.manifest(ROIS).data_version != before.data_version
    assert verify_manifest(session.path, session.manifest(ROIS)) == ()


def save_merged(plane):
    """Merge the first two ROIs, and save that as the GUI does ("Append merges to npy files")."""
    stat = np.load(plane / "stat.npy", allow_pickle=True)
    for roi in stat:
        roi.update(imerge=[], inmerge=0)
    merged = {name: np.append(stat[0][name], stat[1][name]) for name in ("ypix", "xpix", "lam")}
    merged |= {"imerge": np.array([0, 1]), "inmerge": -1, "med": [5.0, 5.0], "chan2_prob": -1}
    np.save(plane / "settings.npy", np.load(plane / "ops.npy", allow_pickle=True))
    np.save(plane / "stat.npy", np.concatenate((stat, np.array([merged]))))
    for name in ("F.npy", "Fneu.npy", "spks.npy"):
        traces = np.load(plane / name)
        np.save(plane / name, np.concatenate((traces, traces[:2].mean(axis=0, keepdims=True))))
    iscell = np.load(plane / "iscell.npy")
    iscell[:2, 0] = 0
    np.save(plane / "iscell.npy", np.concatenate((iscell, [[1, iscell[:2, 1].mean()]])))
    return len(iscell) + 1


def test_merged_rois_are_taken_over_and_what_the_gui_writes_besides_is_in_nobodys_way(copied, materialise):
    settings, session = copied
    n_rois = save_merged(session.path / "suite2p" / "plane0")
    with dg.DagsterInstance.ephemeral() as fresh:
        assert failed_steps(materialise(fresh, settings, KEY, (ROIS,))) == {}
        types = np.load(session.path / "alf" / "FOV_00" / "mpciROIs.mpciROITypes.npy")
        assert types.shape == (n_rois,)
        assert [*types[:2], types[-1]] == [0, 0, 1]
        assert failed_steps(materialise(fresh, settings, KEY, (FRAMES, ROIS))) == {}
        cells = status_cells(fresh, settings, session.key)
        assert {cells[FRAMES].state, cells[ROIS].state} == {State.DONE}
    (told,) = _by_hand(session, session.manifest(ROIS))
    assert told.startswith("suite2p/plane0/iscell.npy was edited by hand"), "so that it is not looked for in the code"
    for asset in (FRAMES, ROIS):
        assert verify_manifest(session.path, session.manifest(asset)) == ()
    assert len(np.load(session.path / "suite2p" / "plane0" / "stat.npy", allow_pickle=True)) == n_rois
