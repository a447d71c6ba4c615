"""Snapshots of a session as notes in Alyx.

What belongs here: finding pictures and captions, and sending each once.
"""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import InputFileError, MesoWarning
from ...json_text import json_text
from ...opening import TABLE_BYTES, is_there, read_plain
from ...session import SessionKey, imaging_bouts, natural_key, why_ignored
from ..fields.records import STATUS_OF, Status
from ..plan import Action, Part, Plan, Planned
from ..sending.carry import carry_out
from ..sending.note_pictures import new_note, picture, with_text
from ..server.client import AlyxClient, find_session, logged_in
from ..server.state import held_notes, note_state, sha256_of_note

#: Pictures that Alyx takes.
PICTURES = (".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_MAGIC = (b"GIF8", _JPEG, _PNG, b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: Where the end of a JPEG is looked for.
_TRAILER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class SnapshotNote:
    """``/notes``: one picture with its caption."""

    #: Path below the session, with forward slashes.
    path: str
    #: Caption, from the ``.txt`` file beside the picture.
    text: str
    sha256: str
    #: Width in Alyx: ``orig`` where resizing would spoil it (moving GIFs), else None, Alyx' default of 800 pixels.
    width: str | None
    status: Status = Status.NOT_SENT
    id: str | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRegistration:
    """All snapshots of a session."""

    session: str
    notes: tuple[SnapshotNote, ...]
    dry_run: bool

    def to_json(self) -> str:
        """Return the notes as JSON."""
        return json_text(asdict(self), indent=2) + "\n"


def register_snapshots(
    session_path: str | Path, *, session: SessionKey | str, client: AlyxClient | None = None
) -> SnapshotRegistration:
    """Collect the pictures of ``snapshots/`` and ``raw_imaging_data_NN/snapshots/``, and send those not yet in Alyx.

    Parameters
    ----------
    session_path
        Session folder.
    session
        Session key, or the session's id in Alyx.
    client
        Alyx client; None for a dry run.

    Raises
    ------
    InputFileError
        If a file is not the picture that its name says.
    AlyxError
        If Alyx does not hold the session, or nobody is logged in.
    """
    session_path = Path(session_path)
    folders = [session_path, *imaging_bouts(session_path)]
    notes = tuple(_note(path, session_path) for folder in folders for path in _pictures(folder / "snapshots"))
    records = SnapshotRegistration(str(session), notes, dry_run=True)
    if client is None:
        return records
    outcome = carry_out(plan_snapshots(records, session_path, client), client, session_path)
    answers, by_content = {one.name: one for one in outcome.records}, {note.sha256: note.path for note in notes[::-1]}
    sent = tuple(
        replace(note, status=STATUS_OF[one.action], id=one.id)
        for note in notes
        if (one := answers[by_content[note.sha256]])
    )
    return replace(records, notes=sent, dry_run=False)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not why_ignored(path.name)]
    return sorted(found, key=lambda path: natural_key(path.name))


def _note(path: Path, session_path: Path) -> SnapshotNote:
    content = read_plain(path, TABLE_BYTES)
    if wrong := _what_is_wrong(content):
        raise InputFileError.at(
            path,
            expected="a whole picture (PNG, JPEG, GIF or TIFF)",
            found=wrong,
            remedy="Move the file out of the snapshots folder, or copy it again from the rig",
        )
    caption = path.with_suffix(".txt")
    text = _caption(caption) if is_there(caption) else ""
    width = "orig" if path.suffix.lower() == ".gif" else None
    return SnapshotNote(path.relative_to(session_path).as_posix(), text, hashlib.sha256(content).hexdigest(), width)


def _what_is_wrong(content: bytes) -> str:
    """Say why something is no whole picture; empty where it is one, as far as its frame tells."""
    if not content:
        return "an empty file"
    if not content.startswith(_MAGIC):
        return f"a file that begins with {content[:8]!r}"
    if content.startswith(_PNG):
        whole = _png_is_whole(content)
    elif content.startswith(_JPEG):
        whole = b"\xff\xd9" in content[-_TRAILER_BYTES:]  # end of image; some cameras write more behind it
    else:
        whole = not content.startswith(b"GIF8") or content.rstrip(b"\0").endswith(b";")
    return "" if whole else "one that is cut short or damaged"


def _png_is_whole(content: bytes) -> bool:
    """Follow the chunks of a PNG to the last one, and compare check sums (https://www.w3.org/TR/png/#5Chunk-layout)."""
    at = len(_PNG)
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return False
        if content[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False


def _caption(path: Path) -> str:
    content = read_plain(path)
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        warnings.warn(f"{path}: not UTF-8, read as Windows-1252", MesoWarning, stacklevel=4)
        return content.decode("cp1252", errors="replace").strip()


def plan_snapshots(records: SnapshotRegistration, session_path: str | Path, client: AlyxClient) -> Plan:
    """Compare the pictures of a session with the notes that Alyx holds; nothing is sent.

    Parameters
    ----------
    records
        As :func:`register_snapshots` builds them without a client.
    session_path
        Session folder.
    client
        Alyx client.

    Raises
    ------
    InputFileError
        If a tif cannot be read.
    AlyxError
        If Alyx does not hold the session, or nobody is logged in.
    """
    session = find_session(client, records.session)
    user, rows = logged_in(client), held_notes(client, session.eid)
    held = {digest: row for row in rows if (digest := sha256_of_note(row))}
    planned, seen = [], set[str]()
    for note in records.notes:
        if note.sha256 not in seen:  # the same picture twice is one note
            planned.append(_planned(note, held.get(note.sha256), user, session.eid))
        seen.add(note.sha256)
    for one in planned:
        if one.action is Action.CREATE:
            picture(Path(session_path), one.name)
    return Plan(Part.SNAPSHOTS, session.name, session.eid, tuple(planned), note_state(rows), subject=session.subject)


def _planned(note: SnapshotNote, held: Mapping[str, Any] | None, user: str, eid: str) -> Planned:
    if held is not None:
        return with_text(held, note.path, note.text, eid)
    own, more = {"snapshot": note.path, "sha256": note.sha256}, {} if note.width is None else {"width": note.width}
    return new_note(note.path, note.text, own, user=user, eid=eid, **more)
