"""The craniotomy's surface normal in the subject's JSON."""

import json

import numpy as np
import pytest

from meso_core.alyx import Status, update_surgery_json
from meso_core.errors import GateError, LocationError, MesoWarning, MetadataError
from meso_core.scanimage import parse_imaging_metadata
from tests.whole_metadata import whole_metadata

META = {"centerMM": {"ML": 2.7, "AP": -1.30000000001}}
NORMAL = np.array([0.6, 0.0, 0.8])


@pytest.fixture
def alyx(through_one):
    def enter(given):
        given.subject("SP035")
        noted = {"weight": 20, "craniotomy_01": {"note": "by hand"}}
        given.call("PATCH", "/subjects/SP035", json={"json": noted})
        newest = {"craniotomy_00": {"center": [1.0, -3.0]}, "craniotomy_01": {"center": [2.7, -1.3]}}
        given.surgery("SP035", "2023-02-01T10:00:00", newest)
        given.surgery("SP035", "2023-01-01T10:00:00", {"craniotomy_00": {"center": [2.7, -1.3]}})
        given.surgery("SP035", "2023-03-01T10:00:00", {"craniotomy_00": {"center": [2.7, -1.3]}}, "Histology")

    return through_one(enter)


def test_the_normal_joins_the_craniotomy_of_the_same_centre_and_nothing_is_lost(alyx):
    update = update_surgery_json(META, NORMAL, "SP035", client=alyx)
    assert (update.craniotomy, update.status) == ("craniotomy_01", Status.UPDATED)
    entry = {"note": "by hand", "center": [2.7, -1.3], "surface_normal_unit_vector": [0.6, 0.0, 0.8]}
    assert alyx.of("subjects")[0]["json"] == {"weight": 20, "craniotomy_01": entry}
    assert alyx.calls == [("subjects", "partial_update")], "the surgery itself is not changed"


def test_sending_twice_writes_once(alyx):
    update_surgery_json(META, NORMAL, "SP035", client=alyx)
    assert update_surgery_json(META, NORMAL, "SP035", client=alyx).status is Status.UNCHANGED
    assert len(alyx.calls) == 1


def test_a_dry_run_tells_what_would_be_sent():
    update = update_surgery_json(META, NORMAL, "SP035")
    assert update.status is Status.NOT_SENT
    assert json.loads(update.to_json())["surface_normal_unit_vector"] == [0.6, 0.0, 0.8]


@pytest.mark.parametrize(
    ("subject", "center", "match"),
    [
        ("SP035", {"ML": 0.0, "AP": 0.0}, "craniotomies at other places"),
        ("SP099", META["centerMM"], "found no craniotomy;"),
    ],
)
def test_without_a_matching_craniotomy_nothing_is_sent_and_it_is_said(alyx, subject, center, match):
    with pytest.warns(MesoWarning, match=match):
        update = update_surgery_json({"centerMM": center}, NORMAL, subject, client=alyx)
    assert (update.status, update.craniotomy) == (Status.NOT_SENT, None)
    assert not alyx.calls


def test_entries_without_a_centre_are_passed_over(alyx):
    alyx.of("surgeries")[0]["json"] = {"craniotomy_00": "see paper", "craniotomy_01": {"center": [2.7, -1.3]}}
    assert update_surgery_json(META, NORMAL, "SP035", client=alyx).craniotomy == "craniotomy_01"


def test_a_normal_of_the_phantom_is_never_sent(alyx):
    with pytest.raises(GateError, match="phantom"):
        update_surgery_json(META, NORMAL, "SP035", client=alyx, is_phantom=True)
    assert not alyx.calls


@pytest.mark.parametrize("vector", [[0, 0, 2], [0, 1], [np.nan, 0, 1]])
def test_only_unit_vectors_are_normals(vector):
    with pytest.raises(LocationError, match="unit vector"):
        update_surgery_json(META, vector, "SP035")


def test_metadata_without_a_centre_are_refused():
    with pytest.raises(MetadataError, match="centerMM"):
        update_surgery_json({}, NORMAL, "SP035")


def test_typed_metadata_give_the_same_centre():
    corners = {name: [i % 2, i // 2] for i, name in enumerate(("topLeft", "topRight", "bottomLeft", "bottomRight"))}
    whole = whole_metadata([{"nXnYnZ": [16, 16, 1], "MM": corners}], **META)
    typed = update_surgery_json(parse_imaging_metadata(whole), NORMAL, "SP035")
    assert typed == update_surgery_json(META, NORMAL, "SP035")
