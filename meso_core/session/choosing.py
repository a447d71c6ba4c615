"""Which sessions a person means: by name, by subject, by pattern, by path.

What belongs here: matching texts with the sessions that are there. What does not: finding those (``finding``).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import MesoError, MissingInputError, SettingsError
from .paths import SUBJECTS, SessionKey

#: How many sessions a message names.
_NEAR = 3


def named_session(text: str) -> SessionKey | None:
    """Read a text that names one session (``SP035/2023-03-03/001``); None for a subject, a pattern or a path.

    Its lab may be left out where one lab holds the subject; :func:`is_whole` tells whether it is.
    """
    try:
        return SessionKey.parse(text.strip("/")) if not Path(text).is_absolute() else None
    except MesoError:
        return None


def is_whole(text: str) -> bool:
    """Whether the name of a session tells its lab, or that it is in none."""
    return "@" in text or text.strip("/").count("/") > 2


def insist_on_lab(key: SessionKey, labs: Sequence[str]) -> None:
    """Refuse the name of a session without its lab, where labs hold subjects of the same name.

    Parameters
    ----------
    key
        Session, as a person named it: without a lab.
    labs
        Labs that hold a subject of this name.

    Raises
    ------
    SettingsError
        If there is more than one.
    """
    if len(labs) < 2:
        return
    raise SettingsError.at(
        key.name,
        expected="the lab too, for it may be another mouse",
        found=f"a subject {key.subject} in {len(labs)} labs: {', '.join(labs)}",
        remedy=f"Name the session as {' or '.join(f'{key.name}@{lab}' for lab in labs)}",
    )


def choose_sessions(texts: Iterable[str], there: Sequence[SessionKey], *roots: str) -> tuple[SessionKey, ...]:
    """Choose sessions by what a person wrote.

    Parameters
    ----------
    texts
        Each a session (``SP035/2023-03-03/1``), a subject (``SP035``), a subject and a date, the same with ``*``,
        ``?`` and ``[…]`` within a part (``SP03*/2023-03-*``), all with or without ``lab/Subjects/`` before or ``@lab``
        behind; or the path of such a folder below the root.
    there
        The sessions that are there.
    *roots
        Root of the sessions, as in the settings, or roots.

    Returns
    -------
    tuple of SessionKey
        In the order of the texts, then of ``there``; each once.

    Raises
    ------
    MissingInputError
        If a text matches no session. All such texts are named.
    SettingsError
        If a text names one session without its lab, and two labs hold the subject.
    """
    chosen: dict[SessionKey, None] = {}
    unmatched = []
    for text in texts:
        wanted = below_root(text, *roots)
        found = [key for key in there if _matches(key, wanted)]
        one = named_session(wanted)
        if one is not None and one.lab is None and wanted == text.strip("/") and not is_whole(text):
            found = [key for key in found if key.lab is None] or found  # the path of a folder means that one
            of_subject = {key.lab or "" for key in there if key.subject == one.subject}
            insist_on_lab(one, () if any(key.lab is None for key in found) else sorted(of_subject - {""}))
        chosen.update(dict.fromkeys(found))
        if not found:
            unmatched.append(text)
    if unmatched:
        raise MissingInputError.at(
            "; ".join(roots),
            expected=f"sessions that are called {', '.join(unmatched)}",
            found=_nearest(unmatched[0], there),
            remedy="Name a session (subject/date/number), a subject, a pattern as 'SP03*/2023-03-*', or a folder below "
            "the root; `meso status` lists all",
        )
    return tuple(chosen)


def below_root(text: str, *roots: str) -> str:
    """Path of a text below the root, or one of several; a text that is no path of this machine stays as it is."""
    if text not in (".", "..") and not text.startswith(("/", "./", "../", "~")):
        return text.strip("/")
    path = Path(text).expanduser().absolute()
    for root in roots:
        base = Path(root).expanduser().absolute()
        for one, other in ((path, base), (path.resolve(), base.resolve())):
            if one.is_relative_to(other) and ".." not in one.relative_to(other).parts:
                return one.relative_to(other).as_posix()
    return str(path)  # as a whole: "." would mean the root


def _matches(key: SessionKey, wanted: str) -> bool:
    if wanted == ".":  # the root itself
        return True
    wanted, at, lab = wanted.partition("@")
    if at and not fnmatchcase(key.lab or "", lab):
        return False
    parts = wanted.split("/")
    return any(_begins(place.split("/"), parts) for place in _spellings(key))


def _spellings(key: SessionKey) -> tuple[str, ...]:
    """All texts that mean a session; the lab may be left out, with its ``Subjects``."""
    bare = SessionKey(key.subject, key.date, key.number).places
    return (*key.places, *(place for place in bare if key.lab and not place.startswith(f"{SUBJECTS}/")))


def _begins(place: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the parts are patterns of the first ones of a place."""
    pairs = zip(place, parts, strict=False)
    return len(parts) <= len(place) and all(fnmatchcase(one, pattern) for one, pattern in pairs)


def _nearest(text: str, there: Sequence[SessionKey]) -> str:
    names = list(dict.fromkeys(name for key in there for name in (str(key), key.name, key.subject)))
    near = difflib.get_close_matches(text.strip("/"), names, n=_NEAR, cutoff=0.5)
    return f"none; the nearest of those that are there: {', '.join(near)}" if near else f"none among {len(there)}"
