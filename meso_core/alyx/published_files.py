"""Which files of a session are registered: what assets published, and reference images that the rig delivered.

What belongs here: choosing files and their hashes. What does not: comparing with the server (``datasets``).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..opening import open_plain
from ..qc import stored_results
from ..session import ListedFile, is_beyond_assets
from ..storage import Session, Staging, hash_file
from .datasets import OwnFile, OwnFiles, own_files
from .gate import of_phantom
from .plan import Kind, Sent

_REFERENCE_IMAGE = "referenceImage."


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


def stage_revisions(staging: Staging, session_path: Path, sent: Iterable[Sent]) -> None:
    """Put a copy of each dataset that the server holds as a revision into the folder of that revision.

    There ONE looks for it. The file itself stays where the platform reads it. Nothing is put into folders of the rig.
    """
    for one in sent:
        if one.kind is Kind.DATASET and one.path and one.path != one.name and not is_beyond_assets(one.path):
            with open_plain(session_path / one.name) as source, staging.open(one.path) as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
