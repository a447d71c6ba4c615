"""Which files of a session are registered: what assets published, and reference images that the rig delivered.

What belongs here: choosing files and their hashes. What does not: comparing with the server (``datasets``).
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import MesoWarning
from ...opening import open_plain
from ...qc import stored_results
from ...session import ListedFile, is_beyond_assets
from ...storage import FileRecord, Session, Staging, hash_file
from ..gate import of_phantom
from ..plan import Kind, Sent
from .datasets import OwnFile, OwnFiles, own_files

_REFERENCE_IMAGE = "referenceImage."
#: File in the folder of a revision, as ONE names it.
_REVISION = re.compile(r"(?:.+/)?#[^/]+#/[^/]+")


def files_to_register(
    session: Session,
    assets: Sequence[str],
    refused: Mapping[str, str],
    delivered: Iterable[ListedFile] = (),
) -> OwnFiles:
    """Choose the files of a session that Alyx is told of.

    Parameters
    ----------
    session
        The session.
    assets
        Assets whose files count; those that are not made are named in the result.
    refused
        Asset → why its files may not be sent.
    delivered
        Reference images of the rig. Those under an ALF name are datasets as they are; they are hashed here.
    """
    key = str(session.key)
    made = {name: manifest for name, manifest in session.manifests().items() if name in assets}
    stays = {**of_phantom(made.values()), **{name: why for name, why in refused.items() if name in made}}
    own = own_files(
        key, [manifest for name, manifest in made.items() if name not in stays], stored_results(session.path)
    )
    out = {file.path: why for name, why in stays.items() for file in made[name].files}
    known = {file.path for manifest in made.values() for file in manifest.files}
    rigs = [file.path for file in delivered if file.path not in known]
    images = [_of_the_rig(session.path, path) for path in rigs if path.rpartition("/")[2].startswith(_REFERENCE_IMAGE)]
    return replace(
        own,
        files=tuple(sorted((*own.files, *images), key=lambda one: one.path)),
        left_out={**own.left_out, **out},
        withheld=stays,
        not_made=tuple(name for name in assets if name not in made),
    )


def _of_the_rig(session_path: Path, path: str) -> OwnFile:
    content = hash_file(session_path / path)
    return OwnFile(path, content.size, content.md5, "the rig", "")


def stage_revisions(
    staging: Staging, session: Session, own: OwnFiles, sent: Iterable[Sent], earlier: Iterable[FileRecord]
) -> None:
    """Have a file for each dataset that the server holds as a revision, in the folder of that revision.

    There ONE looks for it. What was published there before stays; of a new revision a copy is made, and the file itself
    stays where the platform reads it. Nothing is put into folders of the rig. Of a session on a server, nothing else is
    fetched.

    Parameters
    ----------
    staging
        Where the asset prepares its files.
    session
        The session.
    own
        Files that are registered.
    sent
        What the server answered; nothing where it was not asked.
    earlier
        Files that the asset has published before.

    Warns
    -----
    MesoWarning
        If a revision that was published before is missing or changed, and is not the newest one.
    """
    md5, present = {file.path: file.md5 for file in own.files}, session.present()
    copies = {
        one.path: one.name
        for one in sent
        if one.kind is Kind.DATASET and one.path not in ("", one.name) and not is_beyond_assets(one.path)
    }
    stays = {}
    for record in (file for file in earlier if _REVISION.fullmatch(file.path)):
        if md5.get(copies.get(record.path, ""), record.md5) != record.md5:
            continue  # the server took new content under the same revision
        if wrong := present.wrong_with(record):
            if record.path not in copies:
                told = "this revision is in Alyx; bring the file back, from a backup or another copy of the session"
                warnings.warn(f"{session.where()}: {wrong}; {told}", MesoWarning, stacklevel=2)
            continue
        stays[record.path] = record.content
        copies.pop(record.path, None)
    folder = session.fetch([*stays, *copies.values()])
    staging.leave(stays)
    for path, name in copies.items():
        with open_plain(folder / name) as source, staging.open(path) as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
