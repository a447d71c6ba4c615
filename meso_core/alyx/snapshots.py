"""Snapshots of a session as notes in Alyx.

What belongs here: finding pictures and captions, and sending each once.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import AlyxError, InputFileError, MesoWarning
from ..json_text import json_text
from ..opening import TABLE_BYTES, is_there, open_plain, read_plain
from ..session import SessionKey, imaging_bouts, natural_key, why_ignored
from .client import AlyxClient, find_session, listed
from .records import Status

#: Pictures that Alyx takes.
PICTURES = (".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
_MAGIC = (b"GIF8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


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
    eid = find_session(client, session)
    held = {digest for row in listed(client, "notes", django=f"object_id,{eid}") if (digest := _digest_of(row))}
    sent = tuple(
        replace(note, status=Status.UNCHANGED) if note.sha256 in held else _send(note, session_path, eid, client)
        for note in notes
    )
    return replace(records, notes=sent, dry_run=False)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not why_ignored(path.name)]
    return sorted(found, key=lambda path: natural_key(path.name))


def _note(path: Path, session_path: Path) -> SnapshotNote:
    content = read_plain(path, TABLE_BYTES)
    if not content.startswith(_MAGIC):
        raise InputFileError.at(
            path,
            expected="a picture (PNG, JPEG, GIF or TIFF)",
            found="an empty file" if not content else f"a file that begins with {content[:8]!r}",
            remedy="Move the file out of the snapshots folder, or copy it again from the rig",
        )
    caption = path.with_suffix(".txt")
    text = _caption(caption) if is_there(caption) else ""
    width = "orig" if path.suffix.lower() == ".gif" else None
    return SnapshotNote(path.relative_to(session_path).as_posix(), text, hashlib.sha256(content).hexdigest(), width)


def _caption(path: Path) -> str:
    content = read_plain(path)
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        warnings.warn(f"{path}: not UTF-8, read as Windows-1252", MesoWarning, stacklevel=4)
        return content.decode("cp1252", errors="replace").strip()


def _send(note: SnapshotNote, session_path: Path, eid: str, client: AlyxClient) -> SnapshotNote:
    if not client.user:
        raise AlyxError.at(
            "Alyx", field="user", expected="a user who is logged in", found="nobody", remedy="Log in first"
        )
    data: dict[str, Any] = {
        "user": client.user,
        "content_type": "session",
        "object_id": eid,
        "text": note.text,
        # as text, because a form with a picture takes nothing else; the note is recognised by it
        "json": json_text({"snapshot": note.path, "sha256": note.sha256}),
    }
    if note.width is not None:
        data["width"] = note.width
    with open_plain(session_path / note.path, limit=TABLE_BYTES) as picture:
        created = client.rest("notes", "create", data=data, files={"image": picture})
    return replace(note, id=str(created["id"]), status=Status.CREATED)


def _digest_of(row: dict[str, Any]) -> str | None:
    content = row.get("json")
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError:
            return None
    digest = content.get("sha256") if isinstance(content, dict) else None
    return digest if isinstance(digest, str) else None
