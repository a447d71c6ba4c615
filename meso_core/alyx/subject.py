"""What Alyx says of a subject and what processing depends on: alleles, and the centre of the window.

What belongs here: asking, and the answer as it is kept with a session. A server's answer may change at any time; so the
answer that was used is kept, and is an input like any other file: what is computed depends on what is kept, and asking
again replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import AlyxError, InputFileError
from ..json_text import json_text
from ..session import MESO_FOLDER
from ..storage import write_file
from .kept_records import kept_record
from .server.client import AlyxClient, listed
from .server.state import newest_craniotomies

#: Below the session.
SUBJECT_FILE = f"{MESO_FOLDER}/alyx/subject.json"
#: Zygosity of an allele that was tested and is absent.
_ABSENT = 0


@dataclass(frozen=True, slots=True)
class SubjectAnswer:
    """What the server said of a subject."""

    subject: str
    #: Nicknames of the alleles.
    alleles: tuple[str, ...] = ()
    #: mm from bregma, ML and AP, of the only craniotomy of the newest surgery; None where there is none or several.
    window_center: tuple[float, float] | None = None

    @property
    def genotype(self) -> str:
        """Alleles as one text, as the setting of that name holds them."""
        return ";".join(self.alleles)


def ask_subject(client: AlyxClient, subject: str) -> SubjectAnswer:
    """Ask for what Alyx says of a subject.

    Parameters
    ----------
    client
        Alyx client.
    subject
        Nickname.

    Raises
    ------
    AlyxError
        If Alyx has no such subject.
    """
    if not listed(client, "subjects", nickname=subject):
        raise AlyxError.at(
            subject,
            expected="a subject of this name in Alyx",
            found="none",
            remedy="Enter the subject in Alyx, or correct the name of its folder",
        )
    # the list shows other alleles than the detail, and as texts
    detail = client.rest("subjects", "read", id=subject, no_cache=True)
    genotype = [one for one in detail.get("genotype") or () if isinstance(one, Mapping)]
    alleles = tuple(str(one["allele"]) for one in genotype if one.get("zygosity") != _ABSENT)
    return SubjectAnswer(subject, alleles, _only_center(newest_craniotomies(client, subject)))


def _only_center(noted: Mapping[str, Any]) -> tuple[float, float] | None:
    entries = [v for k, v in noted.items() if k.startswith("craniotomy") and isinstance(v, Mapping)]
    found = {center for entry in entries if (center := _pair(entry.get("center"))) is not None}
    return found.pop() if len(found) == 1 else None


def _pair(center: object) -> tuple[float, float] | None:
    if not isinstance(center, list | tuple) or len(center) != 2:
        return None
    ml, ap = center
    is_pair = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (ml, ap))
    return (float(ml), float(ap)) if is_pair else None


def keep_answer(session_path: Path, answer: SubjectAnswer) -> bool:
    """Keep an answer with a session.

    Returns
    -------
    bool
        Whether it says something else than the one that was kept before.
    """
    if kept_answer(session_path) == answer:
        return False
    write_file(session_path / SUBJECT_FILE, (json_text(asdict(answer), indent=1) + "\n").encode())
    return True


@dataclass(frozen=True, slots=True)
class _Kept:
    """The answer as its file holds it."""

    subject: str
    alleles: tuple[str, ...]
    #: Empty where it is not known.
    window_center: tuple[float, ...]


def kept_answer(session_path: Path) -> SubjectAnswer | None:
    """Read the answer that is kept with a session; None where Alyx was never asked.

    Raises
    ------
    InputFileError
        If the file is damaged.
    """
    file, remedy = session_path / SUBJECT_FILE, "Remove it; the next run with MESO_ALYX=online asks again"
    kept = kept_record(_Kept, file, remedy, {"window_center": []})
    if kept is None:
        return None
    if not kept.window_center:
        return SubjectAnswer(kept.subject, kept.alleles)
    if len(kept.window_center) != 2:
        found = f"{len(kept.window_center)} numbers"
        raise InputFileError.at(file, field="window_center", expected="ML and AP", found=found, remedy=remedy)
    ml, ap = kept.window_center
    return SubjectAnswer(kept.subject, kept.alleles, (float(ml), float(ap)))
