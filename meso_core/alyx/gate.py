"""What may not be sent to Alyx: what quality control forbids, unless a person says otherwise, and never the phantom.

What belongs here: the decision, and the file in which a person's name and reason stay with the session.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import SettingsError
from ..json_text import json_text
from ..qc import QCResult, Verdict
from ..session import MESO_FOLDER
from ..storage import Manifest, write_file
from .kept_records import kept_record

_FILE = f"{MESO_FOLDER}/alyx/override.json"
_PHANTOM = "phantom"


@dataclass(frozen=True, slots=True)
class SendingOverride:
    """A person's decision to send what quality control forbids."""

    who: str
    why: str
    #: ISO 8601.
    at: str
    #: Asset that failed → data version of what the person has seen; of what is made later it says nothing.
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.why.strip():
            found = f"{self.who!r}, {self.why!r}"
            raise SettingsError.at(
                "override", expected="who and why", found=found, remedy="Give your name and the reason"
            )


def allow(session_path: Path, who: str, why: str, versions: Mapping[str, str]) -> SendingOverride:
    """Keep with a session that what is there now may be sent although quality control forbids it.

    Parameters
    ----------
    session_path
        Session folder.
    who, why
        Name and reason of the person.
    versions
        Asset that failed → its data version.

    Raises
    ------
    SettingsError
        Without a name or a reason.
    """
    override = SendingOverride(who, why, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), dict(versions))
    write_file(session_path / _FILE, (json_text(asdict(override), indent=1) + "\n").encode())
    return override


def override_of(session_path: Path) -> SendingOverride | None:
    """Read the override of a session; None where there is none.

    Raises
    ------
    InputFileError
        If the file is damaged.
    """
    remedy = "Give the override again with meso alyx allow"
    # earlier ones did not say for what they were given, so they allow nothing
    return kept_record(SendingOverride, session_path / _FILE, remedy, {"versions": {}})


def failed_checks(verdicts: Mapping[str, Sequence[QCResult]]) -> dict[str, str]:
    """Tell which assets failed quality control.

    Returns
    -------
    dict
        Asset → a sentence with the checks that failed.
    """
    found = {}
    for asset, results in verdicts.items():
        failed = [result for result in results if result.verdict is Verdict.FAIL]
        if failed:
            checks = "; ".join(dict.fromkeys(f"{result.check}: {result.message}" for result in failed))
            found[asset] = f"{asset} failed quality control ({checks})"
    return found


def forbidding(failed: Mapping[str, str], assets: Iterable[str], reads: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Tell which assets may not be sent: those that failed, and what was made from them.

    Parameters
    ----------
    failed
        Asset that failed → why.
    assets
        Assets that are to be sent.
    reads
        Asset → assets that it is made from.

    Returns
    -------
    dict
        Asset → a sentence.
    """
    found = {}
    for asset in assets:
        above = _made_from(asset, reads)
        why = [failed[name] for name in failed if name == asset]
        why += [f"{asset} is made from what is not good enough: {failed[name]}" for name in failed if name in above]
        if why:
            found[asset] = "; ".join(why)
    return found


def _made_from(asset: str, reads: Mapping[str, Sequence[str]]) -> set[str]:
    found, ahead = set[str](), list(reads.get(asset, ()))
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += reads.get(name, ())
    return found


def of_phantom(manifests: Iterable[Manifest]) -> dict[str, str]:
    """Tell which assets were made with the phantom in place of a brain.

    Returns
    -------
    dict
        Asset → a sentence.
    """
    return {
        manifest.asset: f"{manifest.asset} was made with the phantom, which is no brain"
        for manifest in manifests
        if manifest.basis.settings.get("atlas") == _PHANTOM
    }
