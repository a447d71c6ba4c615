"""How sessions are called: the keys of their partitions, and whose they are.

What belongs here: the way from a partition key to a :class:`~meso_core.session.SessionKey` and back. A session is
called ``subject/date/number``, with ``@lab`` behind where more than one lab holds the subject. What a name means is
kept with the partitions, so that it never means another session, whatever arrives later and in whatever order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meso_core.errors import MesoError
from meso_core.session import SessionKey, is_whole

if TYPE_CHECKING:
    import dagster as dg

SESSION_PARTITION = "session"
#: Beside the partitions, and in the same records: ``subject@lab``, whose the names of a subject without a lab are. Of
#: two for one subject the first counts. None is ever deleted.
NAME_OWNERS = "owners of session names"

_CHUNK = 5000  # some SQLite builds limit the variables of one query
#: Tag of a run that names its partition; Dagster's own.
PARTITION_TAG = "dagster/partition"
#: In ``lab/Subjects/subject/date/number``, the partition keys of earlier versions where there are labs.
_SLASHES_OF_A_PATH = 4


@dataclass(frozen=True, slots=True)
class Registered:
    """Which names of sessions Dagster knows, and whose they are."""

    names: frozenset[str]
    #: Subject → lab whose its names without a lab are; empty for a subject in no lab's folder.
    owners: Mapping[str, str]
    #: Subject → labs that hold it, as the names tell; an empty one for no lab's folder.
    labs: Mapping[str, Collection[str]]

    @classmethod
    def of(cls, instance: dg.DagsterInstance) -> Registered:
        """Ask Dagster's records."""
        names = frozenset(instance.get_dynamic_partitions(SESSION_PARTITION))
        owners = _owners(instance)
        labs: dict[str, set[str]] = {subject: {lab} for subject, lab in owners.items()}
        for name in names:
            subject, lab = _subject_and_lab(name)
            if lab is None:  # without an owner it is of a time when only sessions of no lab had such names
                lab = owners.setdefault(subject, "")
            labs.setdefault(subject, set()).add(lab)
        return cls(names, owners, labs)

    def find(self, key: SessionKey) -> str | None:
        """Partition key of a session; None where it has none."""
        own = self.owners.get(key.subject) == (key.lab or "")
        known = (key.name_with_lab, *((str(key),) if key.lab else ()), *((key.name,) if own else ()))
        return next((name for name in known if name in self.names), None)

    def name(self, key: SessionKey, labs: Collection[str] = ()) -> str:
        """Partition key of a session, or the one that it would get.

        Parameters
        ----------
        key
            Session.
        labs
            Labs in which the subject was found; an empty one for no lab's folder.
        """
        return self.find(key) or self.name_by_rule(key, labs)

    def name_by_rule(self, key: SessionKey, labs: Collection[str] = ()) -> str:
        """Name of a session as if it had no partition key yet; parameters as for :meth:`name`.

        The lab is in it where another one holds the subject, or owns its names without a lab. A session in no lab's
        folder has the name without, unless a lab owns that.
        """
        lab = key.lab or ""
        if self.owners.get(key.subject, lab) != lab:
            return key.name_with_lab
        others = {*labs, *self.labs.get(key.subject, ())} - {lab}
        return key.name_with_lab if others and lab else key.name

    def key(self, name: str) -> SessionKey:
        """Session that a partition key means.

        Raises
        ------
        MesoError
            If it is no name of a session.
        """
        key = SessionKey.parse(name)
        return key if is_whole(name) else replace(key, lab=self.owners.get(key.subject) or None)


def _subject_and_lab(name: str) -> tuple[str, str | None]:
    """Take the name of a partition apart; its lab is None where it tells none."""
    path, at, lab = name.partition("@")
    parts = path.split("/")
    if len(parts) > _SLASHES_OF_A_PATH:
        return parts[2], parts[0]
    return parts[0], lab if at else None


def _owners(instance: dg.DagsterInstance) -> dict[str, str]:
    pairs = (text.partition("@") for text in instance.get_dynamic_partitions(NAME_OWNERS))
    owners: dict[str, str] = {}
    for subject, _, lab in pairs:
        owners.setdefault(subject, lab)  # they come in the order in which they were added
    return owners


def key_of_partition(instance: dg.DagsterInstance, name: str) -> SessionKey | None:
    """Session that a partition key means; None where the records know no such name.

    Raises
    ------
    MesoError
        If it is no name of a session.
    """
    key = SessionKey.parse(name)
    if is_whole(name):
        return key
    lab = _owners(instance).get(key.subject)
    if lab is not None:
        return replace(key, lab=lab or None)
    return key if instance.has_dynamic_partition(SESSION_PARTITION, key.name) else None


def labs_by_subject(keys: Iterable[SessionKey]) -> dict[str, set[str]]:
    """Subject → labs that hold it among these sessions; an empty one for no lab's folder."""
    labs: dict[str, set[str]] = {}
    for key in keys:
        labs.setdefault(key.subject, set()).add(key.lab or "")
    return labs


def known_sessions(instance: dg.DagsterInstance) -> set[str]:
    """Partition keys that the instance has."""
    return set(instance.get_dynamic_partitions(SESSION_PARTITION))


def name_sessions(
    instance: dg.DagsterInstance, keys: Iterable[SessionKey], labs: Mapping[str, Collection[str]]
) -> dict[SessionKey, str]:
    """Give sessions their partition keys, before these are added.

    Whose the names without a lab are is written down first. Of two processes that do so at once for two labs, the one
    whose line came first has them.

    Parameters
    ----------
    instance
        Dagster's records.
    keys
        Sessions.
    labs
        Subject → labs in which it was found; see :func:`labs_by_subject`.
    """
    chosen, known = tuple(keys), Registered.of(instance)
    names = {key: known.name(key, labs.get(key.subject, ())) for key in chosen}
    claims = {
        f"{key.subject}@{key.lab or ''}": None
        for key, name in names.items()
        if name == key.name and key.subject not in known.owners
    }
    if not claims:
        return names
    _add(instance, NAME_OWNERS, list(claims))
    known = Registered.of(instance)
    return {key: known.name(key, labs.get(key.subject, ())) for key in chosen}


def add_sessions(
    instance: dg.DagsterInstance, keys: Iterable[SessionKey], labs: Mapping[str, Collection[str]] | None = None
) -> dict[SessionKey, str]:
    """Add partitions for sessions that have none yet.

    Parameters
    ----------
    instance, keys, labs
        As for :func:`name_sessions`; without ``labs``, those of ``keys``.

    Returns
    -------
    dict
        Partition keys of all of them.
    """
    chosen = tuple(keys)
    names = name_sessions(instance, chosen, labs_by_subject(chosen) if labs is None else labs)
    known = known_sessions(instance)
    _add(instance, SESSION_PARTITION, [name for name in dict.fromkeys(names.values()) if name not in known])
    return names


def names_to_change(
    instance: dg.DagsterInstance, labs: Mapping[str, Collection[str]]
) -> dict[str, tuple[SessionKey, str]]:
    """Find partition keys that are not what the sessions are called today, and write down whose the new names are.

    They are those of earlier versions, with ``lab/Subjects/`` in front, and those without a lab of a subject that
    another lab has got since.

    Parameters
    ----------
    instance
        Dagster's records.
    labs
        Subject → labs in which it was found; see :func:`labs_by_subject`.

    Returns
    -------
    dict
        Partition key → its session, and its name.
    """
    found = _to_change(Registered.of(instance), labs)
    claims = [f"{key.subject}@{key.lab or ''}" for key, name in found.values() if name == key.name]
    _add(instance, NAME_OWNERS, list(dict.fromkeys(claims)))
    return _to_change(Registered.of(instance), labs)


def _to_change(registered: Registered, labs: Mapping[str, Collection[str]]) -> dict[str, tuple[SessionKey, str]]:
    found = {}
    for old in sorted(registered.names):
        try:
            key = registered.key(old)
        except MesoError:  # a person made it up
            continue
        new = registered.name_by_rule(key, labs.get(key.subject, ()))
        if key.lab and new != old and old in (str(key), key.name):
            found[old] = (key, new)
    return found


def _add(instance: dg.DagsterInstance, of: str, names: list[str]) -> None:
    for start in range(0, len(names), _CHUNK):
        instance.add_dynamic_partitions(of, names[start : start + _CHUNK])


def session_tags(key: SessionKey, name: str) -> dict[str, str]:
    """Tags of a run by which a person finds the runs of a subject, of a day, of a session.

    Parameters
    ----------
    key
        Session.
    name
        Its partition key.
    """
    told = {"session": name, "subject": key.subject, "date": key.date, "number": key.number, "lab": key.lab}
    return {f"meso/{what}": text for what, text in told.items() if text}


def tags_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, str]:
    """Tags of a run, by its partition, through whichever door it came; none where it is about no session."""
    name = run.tags.get(PARTITION_TAG, "")
    try:
        key = key_of_partition(instance, name) if name else None
    except MesoError:  # another partition, or one that a person made up: the steps tell
        return {}
    return session_tags(key, name) if key is not None else {}
