"""Fields of view that a person leaves out of a session: their names, checked against what there is.

What belongs here: the check. Where the names are given is a matter of the platform's settings.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from ..errors import MesoError, SettingsError
from .imaging import ImagingMetadata
from .paths import SessionKey

#: Name of the setting, and of the entry in the record of what a result depends on.
LEFT_OUT_FOVS = "left_out_fovs"
_FOV = re.compile(r"FOV_\d\d+")


def parse_left_out(value: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Check what is left out of which sessions, before any session is looked at.

    Parameters
    ----------
    value
        Session, in any of its spellings → names of fields of view.

    Returns
    -------
    dict
        Text of the session's key → names, sorted.

    Raises
    ------
    SettingsError
        If a session or a name is none.
    """
    found = {}
    for key, names in value.items():
        try:
            session = str(SessionKey.parse(key))
        except MesoError as error:
            raise SettingsError(str(error)) from error
        found[session] = tuple(sorted({*names}))
        if odd := [name for name in found[session] if not _FOV.fullmatch(name)]:
            remedy = "In MESO_LEFT_OUT_FOVS, name the fields of view as the folders in alf"
            raise SettingsError.at(session, field=LEFT_OUT_FOVS, expected="FOV_00 …", found=odd[0], remedy=remedy)
    return found


def check_left_out(imaging: ImagingMetadata, names: Collection[str], session: str) -> frozenset[str]:
    """Return the names, if they can be left out.

    Parameters
    ----------
    imaging
        Imaging metadata of the session.
    names
        Names of fields of view, as ``FOV_02``.
    session
        The session, for messages.

    Raises
    ------
    SettingsError
        If one is no field of view of the session, or none would be left.
    """
    there = [fov.name for fov in imaging.fovs]
    unknown = sorted({*names} - {*there})
    if unknown or {*there} <= {*names}:
        raise SettingsError.at(
            session,
            field=LEFT_OUT_FOVS,
            expected=f"some of {', '.join(there)}, and not all",
            found=", ".join(unknown or sorted(names)),
            remedy="Correct the names in MESO_LEFT_OUT_FOVS, or leave the session itself out of the runs",
        )
    return frozenset(names)
