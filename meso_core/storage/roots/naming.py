"""Which session of a root a person means by a name that may lack its lab.

What belongs here: the one rule, for whoever gets such a name. How names are spelt is in ``meso_core.session``.
"""

from __future__ import annotations

from dataclasses import replace

from ...errors import MissingInputError
from ...session import SessionKey, below_root, insist_on_lab, is_whole
from .store import SessionRoots


def meant_session(store: SessionRoots, text: str) -> SessionKey:
    """Read a session's name as a person types it.

    Parameters
    ----------
    store
        Root of the sessions, or roots.
    text
        ``SP036/2023-03-01/001``, the same with ``@lab`` behind or ``lab/Subjects/`` before, or the path of the folder.
        A slash at either end does not matter. A name without a lab means the session in no lab's folder, if there is
        one, or else that of the one lab that holds the subject.

    Raises
    ------
    MesoError
        If it is no name of a session.
    SettingsError
        If it lacks its lab, and two labs hold the subject.
    """
    below = below_root(text, *store.roots)
    key = SessionKey.parse(below.strip("/"))
    if key.lab is not None or below != text.strip("/") or is_whole(text) or _is_there(store, key):
        return key
    try:
        labs = store.labs_of(key.subject)
    except MissingInputError:  # whoever opens the session will tell
        return key
    insist_on_lab(key, labs)
    return replace(key, lab=labs[0]) if labs else key


def _is_there(store: SessionRoots, key: SessionKey) -> bool:
    try:
        store.store_of(key).local(key)
    except MissingInputError:
        return False
    return True
