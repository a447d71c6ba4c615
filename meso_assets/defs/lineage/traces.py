"""The lineage of a file as the platform asks for it: standings and raw files of its session, handed to ``meso_core``.

What belongs here: finding the session of a file, and one look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meso_core.errors import MesoError, MissingInputError
from meso_core.lineage import Lineage, trace
from meso_core.session import ListedFile, SessionKey
from meso_core.storage import Session

from ...io.resources import Platform
from ..catalogue import CATALOGUE
from ..declare import PEOPLE, raw_asset
from ..standing.standings import look_at


def traced(platform: Platform, session: Session, subject: str) -> Lineage:
    """Follow a file (by its path below the session) or an asset back and onward."""
    seen = look_at(session)
    raw: dict[str, tuple[str, Sequence[ListedFile]]] = {
        raw_asset(kind): (files.version, files.files) for kind, files in seen.raw.items()
    }
    raw[PEOPLE] = (seen.people.version, [])
    standings = seen.standings(platform.settings)
    return trace(session, subject, {name: standings[name] for name in CATALOGUE}, raw)


def located(platform: Platform, what: str, session: str) -> tuple[Session, str]:
    """Find the session, and the path below it, of what somebody named.

    Parameters
    ----------
    platform
        Where the sessions are.
    what
        Asset, path below the session, or path of a file as the shell knows it.
    session
        Name of the session; empty where the path tells it.

    Raises
    ------
    MissingInputError
        If no session is named and the path lies in none.
    """
    file = Path(what).absolute()
    if not session:
        session = next(filter(None, (_session_of(what, root) for root in platform.settings.roots)), "")
        if not session:
            raise MissingInputError.at(
                what,
                expected=f"a file of a session below {platform.store.root}",
                found="a path that lies in none",
                remedy="Name the session too: `meso lineage FILE|ASSET SESSION`",
            )
    opened = platform.find(session)
    if what.startswith(f"{opened.where()}/"):
        return opened, what.removeprefix(f"{opened.where()}/")
    if what not in CATALOGUE and file.is_relative_to(opened.path):
        return opened, file.relative_to(opened.path).as_posix()
    return opened, what.removeprefix("./")


def _session_of(what: str, root: Path | str) -> str:
    """Key of the session in whose folder a file lies; empty where it lies in none of this root."""
    if isinstance(root, str):  # a URL
        below = Path(what.removeprefix(f"{root}/")) if what.startswith(f"{root}/") else None
    else:
        file = Path(what).absolute()
        below = file.relative_to(root) if file.is_relative_to(root) else None
    for folder in below.parents if below is not None else ():
        try:
            return str(SessionKey.parse(folder.as_posix()))
        except MesoError:
            continue
    return ""
