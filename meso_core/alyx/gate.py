"""What may not be sent to Alyx: what quality control forbids, unless a person says otherwise, and never the phantom.

What belongs here: the decision, and the file in which a person's name and reason stay with the session.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InputFileError, MissingInputError, SettingsError
from ..json_text import json_text
from ..opening import read_json
from ..qc import QCResult, Verdict
from ..session import MESO_FOLDER
from ..storage import Manifest, write_file

_FILE = f"{MESO_FOLDER}/alyx/override.json"
_PHANTOM = "phantom"


@dataclass(frozen=True, slots=True)
class SendingOverride:
    """A person's decision to send what quality control forbids."""

    who: str
    why: str
    #: ISO 8601.
    at: str = ""

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.why.strip():
            found = f"{self.who!r}, {self.why!r}"
            raise SettingsError.at(
                "override", expected="who and why", found=found, remedy="Give your name and the reason"
            )


def allow(session_path: Path, who: str, why: str) -> SendingOverride:
    """Keep with a session that it may be sent although quality control forbids it.

    Raises
    ------
    SettingsError
        Without a name or a reason.
    """
    override = SendingOverride(who, why, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    write_file(session_path / _FILE, (json_text(asdict(override), indent=1) + "\n").encode())
    return override


def override_of(session_path: Path) -> SendingOverride | None:
    """Read the override of a session; None where there is none.

    Raises
    ------
    InputFileError
        If the file is damaged.
    """
    file, remedy = session_path / _FILE, "Give the override again with meso alyx allow"
    try:
        record = read_json(file, remedy)
    except MissingInputError:
        return None
    try:
        return SendingOverride(str(record["who"]), str(record["why"]), str(record["at"]))
    except (KeyError, TypeError, SettingsError) as error:
        raise InputFileError.at(file, expected="who, why and when", found=repr(error), remedy=remedy) from error


def forbidding(verdicts: Mapping[str, Sequence[QCResult]], assets: Iterable[str]) -> dict[str, str]:
    """Tell which assets failed quality control.

    Returns
    -------
    dict
        Asset → a sentence with the checks that failed.
    """
    found = {}
    for asset in assets:
        failed = [result for result in verdicts.get(asset, ()) if result.verdict is Verdict.FAIL]
        if failed:
            checks = "; ".join(dict.fromkeys(f"{result.check}: {result.message}" for result in failed))
            found[asset] = f"{asset} failed quality control ({checks})"
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
