"""What assets and sensors ask the platform for: the root of sessions, and the settings.

What belongs here: the resource. Which raw files count is in ``meso_core.archive.delivered``; what is current, in
``defs.declare``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

import dagster as dg
from pydantic import Field

from meso_core.errors import MissingInputError
from meso_core.json_text import json_text
from meso_core.session import SessionKey
from meso_core.storage import Session, SessionRoots, meant_session

from ..runs.settings.settings import MesoSettings
from .session_names import key_of_partition, labs_by_subject


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
    def store(self) -> SessionRoots:
        """The root of sessions, or the roots."""
        return self.settings.store()

    def session(self, name: str, instance: dg.DagsterInstance | None = None) -> Session:
        """Open a session by its partition key.

        Parameters
        ----------
        name
            Partition key, or any other name of the session.
        instance
            Dagster's records, which hold whose a name without a lab is. Without them, the folders tell.

        Raises
        ------
        MissingInputError
            If there is no such session.
        SettingsError
            If the name lacks its lab, and two labs hold the subject.
        """
        known = key_of_partition(instance, name) if instance is not None else None
        return self.at(known) if known is not None else self.find(name)

    def at(self, key: SessionKey) -> Session:
        """Open a session.

        Raises
        ------
        MissingInputError
            If there is no such session.
        InputFileError
            If two folders mean it.
        StorageError
            If its root cannot be reached.
        """
        roots = self.store
        try:
            store = roots.store_of(key)
            return Session(key, store.local(key), store)
        except MissingInputError as error:
            raise _no_such_session(key, roots) from error

    def find(self, text: str) -> Session:
        """Open the session that a person names; see :meth:`named`."""
        return self.at(self.named(text))

    def named(self, text: str) -> SessionKey:
        """Read a session's name as a person types it; see :func:`~meso_core.storage.meant_session`."""
        return meant_session(self.store, text)

    def name(self, key: SessionKey) -> str:
        """Name of a session for a person: the lab is in it where, by the folders, another one holds the subject."""
        return self.names([key])[key]

    def names(self, keys: Iterable[SessionKey], there: Iterable[SessionKey] | None = None) -> dict[SessionKey, str]:
        """Names of sessions for a person, as :meth:`name`; each subject's labs are looked for once.

        Parameters
        ----------
        keys
            Sessions.
        there
            All sessions, where the caller knows them: then nothing is looked for.
        """
        chosen = tuple(keys)
        if there is not None:
            labs: Mapping[str, Collection[str]] = labs_by_subject(there)
        else:
            labs = {subject: self.store.labs_of(subject) for subject in {key.subject for key in chosen if key.lab}}
        return {
            key: key.name_with_lab if key.lab and {*labs.get(key.subject, ())} - {key.lab, ""} else key.name
            for key in chosen
        }


@lru_cache(maxsize=8)
def _parsed(values: str) -> MesoSettings:
    return MesoSettings(**json.loads(values))


def _no_such_session(key: SessionKey, store: SessionRoots) -> MissingInputError:
    there = [other.name_with_lab.removesuffix("@") for other in store.sessions()]
    near = difflib.get_close_matches(str(key), there, n=3, cutoff=0.5)
    nearest = f"the nearest of the {len(there)} that are there: {', '.join(near)}" if near else ""
    return MissingInputError.at(
        str(key),
        expected=f"a session below {store.root}",
        found="no such session" + (f"; {nearest}" if near else f" ({len(there)} others are there)"),
        remedy="Correct the name (subject/date/number, and @lab where two labs hold the subject), or MESO_ROOT",
    )
