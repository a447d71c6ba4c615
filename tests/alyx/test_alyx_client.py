"""The real ``one.webclient.AlyxClient`` in between: what it makes of our calls, a server understands."""

import pytest
from alyx_server import serving
from alyx_stand_in import StandIn
from test_alyx_fov import KEY, META, located
from test_alyx_surgery import NORMAL

from meso_core.alyx import Status, register_fov, register_snapshots, update_surgery_json

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def alyx():
    stand_in = StandIn()
    for number in (1, 2, 3):
        stand_in.add("sessions", subject="SP035", start_time="2023-03-03T10:00:00", number=number)
    stand_in.add("subjects", nickname="SP035", json=None)
    stand_in.add("surgeries", subject="SP035", procedure="craniotomy", json={"craniotomy_00": {"center": [2.7, -1.3]}})
    return stand_in


@pytest.fixture
def client(alyx, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # tokens and parameters are kept there
    webclient = pytest.importorskip("one.webclient")
    with serving(alyx) as url:
        yield webclient.AlyxClient(
            base_url=url, username="experimenter", password="x", silent=True, cache_dir=tmp_path, cache_rest="GET"
        )


def test_fields_of_view_are_registered_once_even_through_a_caching_client(alyx, client):
    first = register_fov(META, located(), session=KEY, client=client)
    again = register_fov(META, located(), session=KEY, client=client)
    assert {location.status for location in first.locations} == {Status.CREATED}
    assert {r.status for r in (*again.stacks, *again.fields_of_view, *again.locations)} == {Status.UNCHANGED}
    assert [len(alyx.of(e)) for e in ("imaging-stack", "fields-of-view", "fov-location")] == [1, 3, 3]


def test_snapshots_arrive_whole_and_once(alyx, client, tmp_path):
    folder = tmp_path / "001" / "snapshots"
    folder.mkdir(parents=True)
    for i in range(3):
        (folder / f"{i}.png").write_bytes(PNG + bytes([i]) * 100)
        (folder / f"{i}.txt").write_text(f"picture {i} µ", encoding="utf-8")
    for status in (Status.CREATED, Status.UNCHANGED):
        sent = register_snapshots(folder.parent, session=KEY, client=client)
        assert {note.status for note in sent.notes} == {status}
    assert [note["text"] for note in alyx.of("notes")] == ["picture 0 µ", "picture 1 µ", "picture 2 µ"]


def test_the_normal_is_merged_into_the_subject(alyx, client):
    meta = {"centerMM": {"ML": 2.7, "AP": -1.3}}
    assert update_surgery_json(meta, NORMAL, "SP035", client=client).status is Status.UPDATED
    assert update_surgery_json(meta, NORMAL, "SP035", client=client).status is Status.UNCHANGED
    entry = {"center": [2.7, -1.3], "surface_normal_unit_vector": [0.6, 0.0, 0.8]}
    assert alyx.of("subjects")[0]["json"] == {"craniotomy_00": entry}
