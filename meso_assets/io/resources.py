"""What assets and sensors ask the platform for: the root of sessions, and the settings.

What belongs here: the resource. Which raw files count is in ``meso_core.archive.delivered``; what is current, in
``defs.declare``.
"""

from __future__ import annotations

import difflib
import json
from functools import lru_cache
from typing import Any

import dagster as dg
from pydantic import Field

from meso_core.errors import MissingInputError
from meso_core.json_text import json_text
from meso_core.session import SessionKey
from meso_core.storage import Session, SessionStore

from ..runs.settings import MesoSettings


class Platform(dg.ConfigurableResource[None]):
    """The root of sessions and the settings, as typed parameter of assets, checks and sensors."""

    values: dict[str, Any] = Field(description="Settings of meso, as the README's table lists them.")

    @classmethod
    def open(cls, settings: MesoSettings) -> Platform:
        """Make the resource from settings that were read before."""
        return cls(values=settings.model_dump(mode="json", exclude_none=True))

    @property
    def settings(self) -> MesoSettings:
        """The settings, parsed once per process."""
        return _parsed(json_text(self.values, sort_keys=True))

    @property
    def store(self) -> SessionStore:
        """The root of sessions."""
        return self.settings.store()

    def session(self, key: str) -> Session:
        """Open a session by its partition key.

        Raises
        ------
        MissingInputError
            If there is no such session.
        """
        parsed, store = SessionKey.parse(key), self.store
        try:
            return Session(parsed, store.local(parsed), store)
        except MissingInputError as error:
            raise _no_such_session(parsed, store) from error


@lru_cache(maxsize=8)
def _parsed(values: str) -> MesoSettings:
    return MesoSettings(**json.loads(values))


def _no_such_session(key: SessionKey, store: SessionStore) -> MissingInputError:
    there = [str(other) for other in store.sessions()]
    near = difflib.get_close_matches(str(key), there, n=3, cutoff=0.5)
    nearest = f"the nearest of the {len(there)} that are there: {', '.join(near)}" if near else ""
    return MissingInputError.at(
        str(key),
        expected=f"a session below {store.root}",
        found="no such session" + (f"; {nearest}" if near else f" ({len(there)} others are there)"),
        remedy="Correct the name ([lab/Subjects/]subject/date/number), or MESO_ROOT",
    )
