"""Labels that were edited by hand are counted exactly, with who and when; what cannot be compared is no error."""

import os
from datetime import datetime

import numpy as np
import pytest

from meso_core.curation import hand_edit

CLASSIFICATION, TYPES = "suite2p/plane0/iscell.npy", "alf/FOV_00/mpciROIs.mpciROITypes.npy"
AT = datetime(2026, 3, 1, 14, 2).astimezone().timestamp()


@pytest.fixture
def session(tmp_path):
    rng = np.random.default_rng(1)
    probability = rng.random(200)
    save(tmp_path / CLASSIFICATION, np.c_[probability > 0.5, probability])
    save(tmp_path / TYPES, (probability > 0.5).astype(np.int16))
    return tmp_path


def save(file, array):
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, array)
    os.utime(file, (AT, AT))


def edited(session, which):
    iscell = np.load(session / CLASSIFICATION)
    iscell[which, 0] = 1 - iscell[which, 0]
    save(session / CLASSIFICATION, iscell)
    return hand_edit(session, CLASSIFICATION, TYPES)


def test_what_was_not_edited_is_no_edit(session):
    assert hand_edit(session, CLASSIFICATION, TYPES) is None
    (session / CLASSIFICATION).unlink()
    assert hand_edit(session, CLASSIFICATION, TYPES) is None


@pytest.mark.parametrize("n", [1, 3, 200])
def test_each_label_that_is_another_one_counts(session, n):
    found = edited(session, np.random.default_rng(n).permutation(200)[:n])
    assert found.n_labels == n
    assert found.who == (session / CLASSIFICATION).owner()
    assert f"{n} label{'' if n == 1 else 's'} edited by hand on 2026-03-01 14:02 by {found.who}" in str(found)


def test_a_label_that_was_edited_back_does_not_wait(session):
    edited(session, [3])
    assert edited(session, [3]) is None


@pytest.mark.parametrize(
    "content",
    [np.zeros((199, 2)), np.zeros(200), np.array([["a", "b"]] * 200), np.zeros((200, 2), complex), b"no array", b""],
)
def test_a_list_that_cannot_be_compared_is_told_without_a_number(session, content):
    if isinstance(content, bytes):
        (session / CLASSIFICATION).write_bytes(content)
    else:
        save(session / CLASSIFICATION, content)
    found = hand_edit(session, CLASSIFICATION, TYPES)
    assert found.n_labels is None
    assert str(found).startswith("labels edited by hand on ")


def test_an_owner_whom_this_machine_does_not_know_has_no_name(session, monkeypatch):
    def unknown(_):
        raise KeyError("uid not found")

    monkeypatch.setattr("pathlib.Path.owner", unknown)
    assert "by" not in str(edited(session, [1])).split(" in ")[0].split("edited by hand")[1]
