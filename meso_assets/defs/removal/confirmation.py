"""What a destructive job asks for, so that nobody but a person who saw the dry run can start it.

What belongs here: the word that a dry run tells and the removal wants back. Another page that is open in a browser may
have the server start a job, but cannot read what a job has told.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path

from meso_core.errors import GateError, MissingInputError
from meso_core.opening import read_plain
from meso_core.storage import write_file

_SECRET = ".confirmation"
_LENGTH = 12


def confirmation(home: Path, session: str, asked: Iterable[tuple[str, int]]) -> str:
    """Make the word for just these files of a session, by path and size.

    Parameters
    ----------
    home
        Folder of the platform; it keeps a secret of its own, which is made where there is none.
    session, asked
        What is to be done.
    """
    text = "\0".join([session, *(f"{path} {size}" for path, size in sorted(asked))])
    digest = hmac.new(_secret(home), text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
    return digest[:_LENGTH]


def insist_on_confirmation(given: str, wanted: str, where: str) -> None:
    """Refuse what was not confirmed.

    Raises
    ------
    GateError
        If the word is not the one that a dry run told.
    """
    if not hmac.compare_digest(given.strip().encode(), wanted.encode()):
        raise GateError.at(
            where,
            field="confirm",
            expected="the word that a dry run of just this removal told",
            found=repr(given) if given else "none",
            remedy="Run it as a dry run, read its log, and give the word from there",
        )


def _secret(home: Path) -> bytes:
    path = home / _SECRET
    try:
        return read_plain(path)
    except MissingInputError:
        write_file(path, secrets.token_bytes(32))
        path.chmod(0o600)
        return read_plain(path)
