"""Snapshots as notes: found with their captions, sent once."""

import hashlib
import io
import json

import pytest
from PIL import Image

from meso_core.alyx import Status, register_snapshots
from meso_core.errors import AlyxError, InputFileError, MesoWarning
from meso_core.session import SessionKey

KEY = SessionKey("SP035", "2023-03-03", "001")


@pytest.fixture
def alyx(through_one):
    def enter(given):
        given.subject("SP035")
        given.session("SP035", "2023-03-03", 1)

    return through_one(enter)


def picture(grey, kind="PNG"):
    content = io.BytesIO()
    Image.new("L", (4, 3), grey).save(content, kind)
    return content.getvalue()


@pytest.fixture
def session(tmp_path):
    folder = KEY.folder(tmp_path)
    for place in ("snapshots", "raw_imaging_data_01/snapshots", "raw_imaging_data_00/snapshots"):
        (folder / place).mkdir(parents=True)
    (folder / "snapshots/b_10.png").write_bytes(picture(10))
    (folder / "snapshots/b_2.PNG").write_bytes(picture(2))
    (folder / "snapshots/b_2.txt").write_text("  before the session µ \n", encoding="utf-8")
    (folder / "snapshots/notes.docx").write_bytes(b"no picture")
    (folder / "raw_imaging_data_00/snapshots/moving.gif").write_bytes(picture(5, "GIF"))
    Image.new("I;16", (4, 3), 1000).save(folder / "raw_imaging_data_01/snapshots/z.tif")
    return folder


def test_pictures_are_listed_in_order_with_their_captions(session):
    records = register_snapshots(session, session=KEY)
    assert [(note.path, note.text, note.width) for note in records.notes] == [
        ("snapshots/b_2.PNG", "before the session µ", None),
        ("snapshots/b_10.png", "", None),
        ("raw_imaging_data_00/snapshots/moving.gif", "", "orig"),
        ("raw_imaging_data_01/snapshots/z.tif", "", None),
    ]
    assert records.notes[0].sha256 == hashlib.sha256(picture(2)).hexdigest()
    assert records.dry_run
    assert json.loads(records.to_json())["notes"][0]["status"] == "not sent"


def test_the_simulated_session_has_its_snapshot(tiny_session):
    records = register_snapshots(tiny_session.session_path, session=tiny_session.key)
    assert [(note.path, note.text) for note in records.notes] == [
        ("snapshots/mean_image_FOV_00.png", "Mean image of the first field before the session")
    ]


def test_each_picture_is_sent_once(session, alyx):
    first = register_snapshots(session, session=KEY, client=alyx)
    assert {note.status for note in first.notes} == {Status.CREATED}
    again = register_snapshots(session, session=KEY, client=alyx)
    assert {note.status for note in again.notes} == {Status.UNCHANGED}
    assert len(alyx.of("notes")) == 4
    note = alyx.of("notes")[0]
    assert (note["user"], note["text"]) == ("experimenter", "before the session µ")
    assert note["object_id"] == alyx.of("sessions")[0]["id"]


def test_only_new_pictures_are_sent_beside_notes_of_others(session, alyx):
    register_snapshots(session, session=KEY, client=alyx)
    eid = alyx.of("sessions")[0]["id"]
    alyx.add("notes", object_id=eid, text="by hand", json=None)
    alyx.add("notes", object_id=eid, text="by hand", json="no json")
    (session / "snapshots/new.jpg").write_bytes(picture(7, "JPEG"))
    sent = register_snapshots(session, session=KEY, client=alyx)
    assert [note.path for note in sent.notes if note.status is Status.CREATED] == ["snapshots/new.jpg"]


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_file_that_is_no_picture_is_named_before_anything_is_sent(session, alyx, content):
    (session / "raw_imaging_data_01/snapshots/zz.png").write_bytes(content)
    with pytest.raises(InputFileError, match=r"zz\.png"):
        register_snapshots(session, session=KEY, client=alyx)
    assert not alyx.calls


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_picture_that_a_copy_cut_short_is_named(session, kind):
    whole = picture(3, kind)
    place = session / "snapshots" / f"cut.{kind.lower()}"
    for n in (1, 2, len(whole) // 4, len(whole) // 2):
        place.write_bytes(whole[:-n])
        with pytest.raises(InputFileError, match=r"cut\..*found one that is cut short or damaged"):
            register_snapshots(session, session=KEY)
    place.write_bytes(whole)
    assert len(register_snapshots(session, session=KEY).notes) == 5


@pytest.mark.parametrize("at", range(8, 60, 7))
def test_a_flipped_bit_of_a_png_is_named(session, at):
    content = bytearray(picture(3))
    content[at] ^= 4
    (session / "snapshots/b_10.png").write_bytes(content)
    with pytest.raises(InputFileError, match="cut short or damaged"):
        register_snapshots(session, session=KEY)


def test_a_caption_from_windows_is_read_with_a_warning(session):
    (session / "snapshots/b_10.txt").write_bytes("40 µm".encode("cp1252"))
    with pytest.warns(MesoWarning, match=r"b_10\.txt: not UTF-8"):
        records = register_snapshots(session, session=KEY)
    assert records.notes[1].text == "40 µm"


def test_nobody_logged_in_is_an_error(session, alyx):
    alyx.user = None
    with pytest.raises(AlyxError, match="logged in"):
        register_snapshots(session, session=KEY, client=alyx)


def test_a_session_without_snapshots_gives_none(tmp_path):
    assert register_snapshots(tmp_path, session=KEY).notes == ()
