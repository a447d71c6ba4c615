"""Records of fields of view: what is built, what is sent, and that sending twice changes nothing."""

import dataclasses
import json

import numpy as np
import pytest

from meso_core.alyx import Status, register_fov
from meso_core.errors import AlyxError, GateError, LocationError, MesoWarning, MetadataError
from meso_core.location import AtlasInfo, FovLocation, Frame, NormalRule, Provenance, SessionLocations, WindowPlane
from meso_core.scanimage import parse_imaging_metadata
from meso_core.session import SessionKey
from tests.whole_metadata import whole_metadata

KEY = SessionKey("SP035", "2023-03-03", "001")
CORNERS = np.array(
    [[2317.2, -1599.8, -535.5], [2862.7, -1625.2, -748.7], [2317.3, -2181.4, -466.3], [2862.7, -2206.9, -679.4]]
)
ROIS = ["A1", "B2", "A1"]  # the first ROI at two depths, the second at one
CORNER_NAMES = ("topLeft", "topRight", "bottomLeft", "bottomRight")
MM = {name: [x / 1e3, y / 1e3] for name, (x, y, _) in zip(CORNER_NAMES, CORNERS, strict=True)}
META = whole_metadata([{"roiUUID": roi, "nXnYnZ": [512, 256 + i, 1], "MM": MM} for i, roi in enumerate(ROIS)])


def located(provenance=Provenance.ESTIMATE, *, phantom=False, frame=Frame.CCF, shift=0.0, ids=(0, 593, 821, -821)):
    fovs = tuple(
        FovLocation(
            i,
            (256 + i, 512),
            CORNERS + i + shift,
            (593,) * 4,
            CORNERS.mean(axis=0),
            593,
            ids,
            fraction_outside=0.0,
            size_mm=(0.6, 0.6),
            roi_uuid=roi,
            z=100.0,
        )
        for i, roi in enumerate(ROIS)
    )
    atlas = AtlasInfo("phantom" if phantom else "allen", 25.0, "0" * 64, "file", phantom)
    window = WindowPlane(CORNERS.mean(axis=0), np.array([0.0, 0.0, 1.0]), NormalRule.REGION)
    return SessionLocations(provenance, atlas, frame, window, fovs)


@pytest.fixture
def alyx(through_one):
    def enter(given):
        given.subject("SP035")
        given.session("SP035", "2023-03-03", 1)
        given.session("SP035", "2023-03-03", 2)

    return through_one(enter)


def eid(alyx):
    return alyx.of("sessions")[0]["id"]


def test_a_dry_run_shows_the_records_and_sends_nothing():
    records = register_fov(META, located(), session=KEY)
    assert records.dry_run
    assert [stack.name for stack in records.stacks] == ["A1"], "only ROIs at several depths are stacks"
    assert [(fov.name, fov.stack) for fov in records.fields_of_view] == [
        ("FOV_00", "A1"),
        ("FOV_01", None),
        ("FOV_02", "A1"),
    ]
    location = records.locations[1]
    assert location.payload() == {
        "field_of_view": "FOV_01",
        "provenance": "E",
        "x": (CORNERS[:, 0] + 1).tolist(),
        "y": (CORNERS[:, 1] + 1).tolist(),
        "z": (CORNERS[:, 2] + 1).tolist(),
        "n_xyz": [512, 257, 1],
        "brain_region": [0, 593, 821],
        "default_provenance": True,
        "coordinate_system": "IBL-Allen",
    }
    assert {r.status for r in (*records.stacks, *records.fields_of_view, *records.locations)} == {Status.NOT_SENT}


def test_the_json_is_strict_and_the_same_for_the_same_records():
    text = register_fov(META, located(), session=KEY).to_json()
    assert text == register_fov(META, located(), session=KEY).to_json()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert content["session"] == "SP035/2023-03-03/001"
    assert content["locations"][0]["x"] == CORNERS[:, 0].tolist()


@pytest.mark.parametrize("provenance", list(Provenance))
def test_each_provenance_goes_out_under_its_code(alyx, provenance):
    sent = register_fov(META, located(provenance), session=KEY, client=alyx)
    assert {row["provenance"] for row in alyx.of("fov-location")} == {provenance.name[0]}
    assert all(location.status is Status.CREATED for location in sent.locations)


def test_what_is_sent_is_what_the_dry_run_showed(alyx):
    shown, sent = register_fov(META, located(), session=KEY), register_fov(META, located(), session=KEY, client=alyx)
    assert not sent.dry_run
    ids = {fov.id: fov.name for fov in sent.fields_of_view}
    for row, location in zip(alyx.of("fov-location"), shown.locations, strict=True):
        assert {**row, "field_of_view": ids[row["field_of_view"]], "brain_region": sorted(row["brain_region"])} == {
            **location.payload(), "id": row["id"], "json": None
        }  # fmt: skip
    (stack,) = alyx.of("imaging-stack")
    assert [row["stack"] for row in alyx.of("fields-of-view")] == [stack["id"], None, stack["id"]]
    assert {row["session"] for row in alyx.of("fields-of-view")} == {eid(alyx)}


def test_sending_twice_changes_nothing(alyx):
    register_fov(META, located(), session=KEY, client=alyx)
    before, n_calls = alyx.held(), len(alyx.calls)
    again = register_fov(META, located(), session=KEY, client=alyx)
    assert alyx.held() == before
    assert len(alyx.calls) == n_calls, "not even written"
    statuses = {r.status for r in (*again.stacks, *again.fields_of_view, *again.locations)}
    assert statuses == {Status.UNCHANGED}


def test_a_run_that_was_killed_is_finished_by_the_next(alyx, monkeypatch):
    rest, left = alyx.rest, [3]

    def dying(url, action, **kwargs):
        left[0] -= action == "create"
        if left[0] < 0:
            raise ConnectionError("the server is gone")
        return rest(url, action, **kwargs)

    monkeypatch.setattr(alyx, "rest", dying)
    with pytest.raises(ConnectionError):
        register_fov(META, located(), session=KEY, client=alyx)
    monkeypatch.undo()
    register_fov(META, located(), session=KEY, client=alyx)
    assert [len(alyx.of(e)) for e in ("imaging-stack", "fields-of-view", "fov-location")] == [1, 3, 3]


def test_a_new_location_updates_the_old_one_in_place(alyx):
    register_fov(META, located(), session=KEY, client=alyx)
    moved = register_fov(META, located(shift=10.0), session=KEY, client=alyx)
    assert {location.status for location in moved.locations} == {Status.UPDATED}
    assert [row["x"] for row in alyx.of("fov-location")] == [(CORNERS[:, 0] + i + 10).tolist() for i in range(3)]


def defaults(alyx):
    return {row["provenance"] for row in alyx.of("fov-location") if row["default_provenance"]}


def test_a_lesser_provenance_never_takes_the_default_from_a_better_one(alyx):
    register_fov(META, located(Provenance.HISTOLOGY), session=KEY, client=alyx)
    register_fov(META, located(Provenance.ESTIMATE), session=KEY, client=alyx)
    register_fov(META, located(Provenance.ESTIMATE, shift=5.0), session=KEY, client=alyx)
    assert defaults(alyx) == {"H"}


def test_a_better_provenance_becomes_the_default(alyx):
    for provenance in (Provenance.ESTIMATE, Provenance.FUNCTIONAL, Provenance.LANDMARK, Provenance.HISTOLOGY):
        register_fov(META, located(provenance), session=KEY, client=alyx)
        assert defaults(alyx) == {provenance.name[0]}


def test_a_default_that_a_person_chose_is_left_alone(alyx):
    for provenance in (Provenance.ESTIMATE, Provenance.HISTOLOGY):
        register_fov(META, located(provenance), session=KEY, client=alyx)
    for row in alyx.of("fov-location"):
        row["default_provenance"] = row["provenance"] == "E"
    register_fov(META, located(Provenance.ESTIMATE), session=KEY, client=alyx)
    assert defaults(alyx) == {"E"}


def test_fields_of_view_that_others_registered_are_found_and_get_their_stack(alyx):
    held = [
        alyx.add("fields-of-view", session=eid(alyx), name=f"FOV_{i:02d}", imaging_type="mesoscope", stack=None)
        for i in range(3)
    ]
    sent = register_fov(META, located(), session=KEY, client=alyx)
    assert [fov.id for fov in sent.fields_of_view] == held
    assert [fov.status for fov in sent.fields_of_view] == [Status.UPDATED, Status.UNCHANGED, Status.UPDATED]


def test_the_session_may_be_given_by_its_id(alyx):
    sent = register_fov(META, located(), session=eid(alyx), client=alyx)
    assert {fov.session for fov in sent.fields_of_view} == {eid(alyx)}


def test_a_session_that_alyx_does_not_hold_is_an_error(alyx):
    other = dataclasses.replace(KEY, number="003")
    with pytest.raises(AlyxError, match="one session in Alyx, found 0 sessions"):
        register_fov(META, located(), session=other, client=alyx)


def test_a_session_that_alyx_holds_twice_is_an_error_that_names_both(alyx):
    alike = {name: value for name, value in alyx.of("sessions")[0].items() if name != "id"}
    twin = alyx.add("sessions", **alike)
    with pytest.raises(AlyxError, match=f"2 sessions.*{twin}"):
        register_fov(META, located(), session=KEY, client=alyx)
    assert not alyx.calls


def test_positions_in_the_phantom_are_shown_but_never_sent(alyx):
    assert register_fov(META, located(phantom=True), session=KEY).is_phantom
    with pytest.raises(GateError, match="phantom"):
        register_fov(META, located(phantom=True), session=KEY, client=alyx)
    assert not alyx.calls


def test_positions_in_another_frame_are_shown_but_never_sent(alyx):
    assert register_fov(META, located(frame=Frame.MRI_TORONTO), session=KEY).frame == "mri_toronto"
    with pytest.raises(GateError, match="IBL-Allen"):
        register_fov(META, located(frame=Frame.MRI_TORONTO), session=KEY, client=alyx)
    assert not alyx.calls


def test_a_field_with_a_corner_off_the_brain_goes_without_location(alyx):
    locations = located()
    corners = CORNERS.copy()
    corners[3] = np.nan
    fovs = (dataclasses.replace(locations.fovs[0], corners_um=corners), *locations.fovs[1:])
    with pytest.warns(MesoWarning, match=r"SP035/2023-03-03/001 FOV_00: a corner is outside"):
        sent = register_fov(META, dataclasses.replace(locations, fovs=fovs), session=KEY, client=alyx)
    assert sent.not_located == ("FOV_00",)
    assert len(alyx.of("fields-of-view")) == 3
    assert len(alyx.of("fov-location")) == 2


def test_a_region_that_the_server_has_not_is_named_before_anything_is_sent(alyx):
    with pytest.raises(AlyxError, match="123456789"):
        register_fov(META, located(ids=(123456789,)), session=KEY, client=alyx)
    assert not alyx.calls


def test_a_field_of_view_without_the_id_of_its_roi_is_refused():
    fovs = [{key: value for key, value in fov.items() if key != "roiUUID"} for fov in META["FOV"]]
    with pytest.raises(MetadataError, match=r"FOV\[0\]\.roiUUID.*FOVs that form a stack"):
        register_fov({**META, "FOV": fovs}, located(), session=KEY)


def test_typed_metadata_make_the_same_records():
    typed = parse_imaging_metadata(META)
    assert register_fov(typed, located(), session=KEY) == register_fov(META, located(), session=KEY)


@pytest.mark.parametrize(
    ("meta", "error", "match"),
    [
        ({**META, "FOV": META["FOV"][:2]}, LocationError, "locations of the fields of view of the metadata"),
        ({**META, "FOV": META["FOV"][::-1]}, LocationError, "rows and columns"),
        ({**META, "FOV": [{**fov, "roiUUID": None} for fov in META["FOV"]]}, MetadataError, "roiUUID"),
        ({**META, "FOV": [{**fov, "nXnYnZ": [1]} for fov in META["FOV"]]}, MetadataError, "nXnYnZ"),
        ({}, MetadataError, "'nFrames'"),
    ],
)
def test_metadata_that_do_not_fit_the_locations_are_refused(meta, error, match):
    with pytest.raises(error, match=match):
        register_fov(meta, located(), session=KEY)
