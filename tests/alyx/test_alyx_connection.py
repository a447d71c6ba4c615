"""The connection, with one-api's client in it, over HTTP: what is sent arrives, once, and no secret stays."""

import dataclasses
import os
from pathlib import Path

import pytest
from test_alyx_fov import KEY, META, located
from test_alyx_surgery import NORMAL

from meso_core.alyx import (
    RefusedError,
    Status,
    carry_out,
    connect,
    plan_fovs,
    register_fov,
    register_snapshots,
    update_surgery_json,
)
from meso_core.errors import AlyxError, AlyxUnavailableError, MesoWarning, SettingsError
from tests.alyx.ours import held
from tests.alyx.standin import faults

pytest_plugins = ["tests.alyx.one_session"]


def test_fields_of_view_are_registered_once(lab, connection):
    first = register_fov(META, located(), session=KEY, client=connection)
    again = register_fov(META, located(), session=KEY, client=connection)
    assert {location.status for location in first.locations} == {Status.CREATED}
    assert {r.status for r in (*again.stacks, *again.fields_of_view, *again.locations)} == {Status.UNCHANGED}
    assert [len(lab.rows(e)) for e in ("fields-of-view", "fov-location")] == [3, 3]


def test_snapshots_arrive_whole_and_once(lab, connection, png, tmp_path):
    folder = tmp_path / "001" / "snapshots"
    folder.mkdir(parents=True)
    for i in range(3):
        (folder / f"{i}.png").write_bytes(png(i))
        (folder / f"{i}.txt").write_text(f"picture {i} µ", encoding="utf-8")
    for status in (Status.CREATED, Status.UNCHANGED):
        sent = register_snapshots(folder.parent, session=KEY, client=connection)
        assert {note.status for note in sent.notes} == {status}
    assert sorted(note["text"] for note in lab.rows("notes")) == ["picture 0 µ", "picture 1 µ", "picture 2 µ"]


@pytest.fixture
def png():
    import io

    from PIL import Image

    def make(grey):
        out = io.BytesIO()
        Image.new("L", (4, 3), grey).save(out, "PNG")
        return out.getvalue()

    return make


def test_a_tif_is_sent_as_png_and_a_caption_that_changed_is_corrected(lab, connection, tmp_path):
    from PIL import Image

    folder = tmp_path / "001" / "snapshots"
    folder.mkdir(parents=True)
    Image.new("F", (4, 3), 0.5).save(folder / "a.tif")
    register_snapshots(folder.parent, session=KEY, client=connection)
    (note,) = lab.rows("notes")
    assert note["image"].endswith(".png")
    (folder / "a.txt").write_text("later")
    assert register_snapshots(folder.parent, session=KEY, client=connection).notes[0].status is Status.UPDATED
    assert [row["text"] for row in lab.rows("notes")] == ["later"]


def test_the_normal_is_merged_into_the_subject(lab, connection):
    meta = {"centerMM": {"ML": 2.7, "AP": -1.3}}
    assert update_surgery_json(meta, NORMAL, "SP035", client=connection).status is Status.UPDATED
    assert update_surgery_json(meta, NORMAL, "SP035", client=connection).status is Status.UNCHANGED
    entry = {"center": [2.7, -1.3], "surface_normal_unit_vector": [0.6, 0.0, 0.8]}
    assert lab.call("GET", "subjects/SP035")["json"]["craniotomy_00"] == entry


def test_nothing_is_written_into_the_home_folder_and_no_secret_shows(lab, connection, tmp_path):
    register_fov(META, located(), session=KEY, client=connection)
    assert not any(Path(os.environ["HOME"]).rglob("*"))
    assert lab.password not in repr(connection)
    assert lab.password not in repr(vars(connection)["_transport"])


def test_a_wrong_password_is_named_without_the_password(lab):
    connection = connect(lab.url, user=lab.user, password="open-sesame")
    with pytest.raises(AlyxError, match="ALYX_PASSWORD") as caught:
        connection.rest("sessions", "list")
    assert "open-sesame" not in str(caught.value)


def test_a_token_that_expires_is_renewed_where_the_password_is_known(lab_server, lab, connection):
    connection.rest("sessions", "list")
    lab_server.expire_tokens()
    assert connection.rest("sessions", "list")


def test_an_expired_token_without_a_password_is_named(lab_server, lab):
    token = lab.call("POST", "auth-token", json={"username": lab.user, "password": lab.password})["token"]
    connection = connect(lab.url, user=lab.user, token=token)
    assert connection.rest("sessions", "list")
    lab_server.expire_tokens()
    with pytest.raises(AlyxError, match="set ALYX_TOKEN to a new one") as caught:
        connection.rest("sessions", "list")
    assert token not in str(caught.value)


def test_the_server_is_waited_for_as_long_as_it_asks(lab_server, connection, waits):
    connection.rest("sessions", "list")
    lab_server.faults.next("GET", "/sessions", faults.too_many(7), times=2)
    assert connection.rest("sessions", "list")
    assert waits == [7.0, 7.0]


def test_a_wait_beyond_all_patience_is_left_to_a_later_run(lab_server, connection, waits):
    connection.rest("sessions", "list")
    lab_server.faults.next("GET", "/sessions", faults.too_many(3600))
    with pytest.raises(AlyxUnavailableError, match="too many requests"):
        connection.rest("sessions", "list")
    assert waits == []


@pytest.mark.parametrize("status", [200, 502])
def test_a_proxy_that_answers_in_html_is_named(lab_server, connection, status):
    connection.rest("sessions", "list")
    lab_server.faults.next("GET", "/sessions", faults.proxy_page(status), times=None)
    with pytest.raises(AlyxUnavailableError, match="page of HTML"):
        connection.rest("sessions", "list")


def test_a_server_that_is_gone_is_named_after_all_tries(lab_server, connection, waits):
    lab_server.stop()
    with pytest.raises(AlyxUnavailableError, match="no connection"):
        connection.rest("sessions", "list")
    assert len(waits) == 4


def test_a_user_who_may_only_read_is_named(lab_server, lab):
    lab_server.add_user("guest", "guest", public=True)
    connection = connect(lab.url, user="guest", password="guest")
    with pytest.raises(AlyxError, match="Give user guest the right"):
        register_fov(META, located(), session=KEY, client=connection)
    assert lab.rows("fields-of-view") == []


def answering(status, body, kind="application/json"):
    return faults.Fault(instead=(status, {"Content-Type": kind}, body))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (faults.broken(500), "at the login 500: the database is restarting"),
        (answering(200, b'{"tokens": []}'), "a login without a token"),
        (answering(200, b'["a"]'), "a login without a token"),
        (answering(200, b'{"token": null}'), "a login without a token"),
        (answering(200, b"welcome"), "a login without a token"),
    ],
)
def test_a_login_that_fails_for_another_reason_than_the_password_is_named_so(lab_server, connection, fault, told):
    lab_server.faults.next("POST", "/auth-token", fault)
    with pytest.raises(AlyxUnavailableError, match=told) as caught:
        connection.rest("sessions", "list")
    assert "ALYX_PASSWORD" not in str(caught.value)
    assert connection.rest("sessions", "list"), "the next login works"


@pytest.mark.parametrize("token", ["sesame\n", "sesame\r\nHost: x", " sesame", "sesamé", "\n"])
def test_a_token_that_no_request_can_carry_is_named_without_showing_it(lab, token):
    with pytest.raises(SettingsError, match="ALYX_TOKEN") as caught:
        connect(lab.url, user=lab.user, token=token)
    assert "sesam" not in str(caught.value)


def test_an_address_without_a_schema_is_named(lab_server, connection):
    lab_server.faults.next("GET", "/api/schema", answering(404, b"<html>no such page</html>", "text/html"), times=None)
    with pytest.raises(RefusedError, match="no schema of Alyx") as caught:
        connection.rest("sessions", "list")
    assert caught.value.status == 404
    assert "MESO_ALYX_URL" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "alyx.example.org",
        "ftp://alyx",
        "https://me:secret@alyx.example.org",
        "https://:secret@alyx.example.org",
        "https://secret@alyx.example.org",
        "me:secret@alyx.example.org",
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_what_is_in_it(url):
    with pytest.raises(SettingsError, match="MESO_ALYX_URL") as caught:
        connect(url, user="me", password="x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given_by", "missing"), [({"user": "", "password": "x"}, "ALYX_USER"), ({"user": "me"}, "ALYX_PASSWORD")]
)
def test_what_is_missing_in_the_environment_is_named(given_by, missing):
    with pytest.raises(SettingsError, match=missing):
        connect("https://alyx.example.org", **given_by)


def test_lists_come_whole_and_lasting_ones_once(lab, connection):
    regions = connection.rest("brain-regions", "list")
    assert len(regions) == len({row["id"] for row in regions}) > 1300
    n = connection.n_requests
    assert connection.rest("brain-regions", "list") == regions
    assert connection.n_requests == n


def test_a_read_that_fails_is_asked_once_more_and_then_told(lab_server, connection, waits):
    connection.rest("sessions", "list")
    lab_server.faults.next("GET", "/sessions", faults.broken(500))
    assert connection.rest("sessions", "list")
    lab_server.faults.next("GET", "/sessions", faults.broken(500), times=None)
    with pytest.raises(AlyxError, match="500: the database is restarting"):
        connection.rest("sessions", "list")
    assert len(waits) == 2


@pytest.mark.parametrize("fault", [faults.too_many(3), faults.broken(503)])
def test_a_login_is_tried_again_where_the_server_is_busy(lab_server, connection, waits, fault):
    lab_server.faults.next("POST", "/auth-token", fault)
    assert connection.rest("sessions", "list")
    assert len(waits) == 1


class ShortRows:
    """A server whose lists do not tell a field, as some of a real one do not."""

    def __init__(self, connection, endpoint, field, everywhere=False):
        self._connection, self._endpoint, self._field, self._everywhere = connection, endpoint, field, everywhere
        self.user, self.url = connection.user, connection.url

    def rest(self, url, action, id=None, **more):
        answer = self._connection.rest(url, action, id, **more)
        if url == self._endpoint and action == "list":
            return [self._without(row) for row in answer]
        if url == self._endpoint and action == "read" and self._everywhere:
            return self._without(answer)
        return answer

    def _without(self, row):
        return {name: value for name, value in row.items() if name != self._field}


def test_json_that_a_list_does_not_tell_is_read_and_not_taken_for_empty(lab, connection):
    register_fov(META, located(), session=KEY, client=connection)
    (row,) = lab.rows("fields-of-view?name=FOV_02")
    lab.call("PATCH", f"fields-of-view/{row['id']}", json={"json": {"by": "hand"}})
    fewer = dataclasses.replace(located(), fovs=located().fovs[:2])
    records = register_fov({**META, "FOV": META["FOV"][:2]}, fewer, session=KEY)
    with pytest.warns(MesoWarning, match="FOV_02"):
        carry_out(plan_fovs(records, ShortRows(connection, "fields-of-view", "json")), connection)
    assert lab.rows("fields-of-view?name=FOV_02")[0]["json"] == {"by": "hand", "not_in_session": True}


def test_a_surgery_whose_json_a_list_does_not_tell_is_read(lab, connection):
    meta = {"centerMM": {"ML": 2.7, "AP": -1.3}}
    sent = update_surgery_json(meta, NORMAL, "SP035", client=ShortRows(connection, "surgeries", "json"))
    assert sent.status is Status.UPDATED


@pytest.mark.parametrize(("endpoint", "field"), [("fields-of-view", "json"), ("datasets", "hash"), ("notes", "text")])
def test_a_field_that_the_server_never_tells_is_named_and_nothing_is_sent(site, ours, client, endpoint, field):
    ours.register(client())
    before = held(site, ours)
    with pytest.raises(AlyxError, match=f"{endpoint}.*field '{field}'"):
        ours.other(content="second").register(
            ShortRows(client(), endpoint, field, everywhere=True), "fovs", "datasets", "snapshots"
        )
    assert {**held(site, ours), "datasets": 0} == {**before, "datasets": 0}
