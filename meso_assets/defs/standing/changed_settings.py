"""Results that were made with other settings than those of now: what a person sets to keep them.

What belongs here: the names of variables and of the file, beside both values. Which settings differ is compared in
``meso_core.storage``.
"""

from __future__ import annotations

import os
from functools import lru_cache

from pydantic_settings import TomlConfigSettingsSource

from meso_core.lineage import as_text
from meso_core.session import LEFT_OUT_FOVS
from meso_core.storage import ChangedSetting, Standing

from ...runs.settings.settings import MesoSettings
from ...runs.settings.variables import settings_file, variable_of

_DEFAULT, _OF_ALYX = "the default", "as Alyx says"
#: What stands for a setting that nobody gave.
_NOT_GIVEN = (None, "", "by session")


def to_keep(found: Standing, settings: MesoSettings) -> str:
    """Say what a person sets so that a result counts as it is.

    Parameters
    ----------
    found
        How the result stands.
    settings
        Settings of the platform.

    Returns
    -------
    str
        Empty where nothing helps: something else differs too, or what differs is no setting, as the machine's device.
    """
    steps = [_step(one, settings) for one in found.changed_settings]
    return f"to keep the result as it is, {' and '.join(steps)}" if steps and all(steps) else ""


def _step(one: ChangedSetting, settings: MesoSettings) -> str:
    name, _, option = one.name.partition(".")
    if name not in MesoSettings.model_fields:
        return ""
    is_out = not one.was_given or one.before in _NOT_GIVEN
    origin = _origin(name, one, settings)
    if is_out and origin == _OF_ALYX:
        return ""
    now = f"(now {as_text(one.now) if one.is_given else 'not set'}, {origin})"
    variable, before = variable_of(name), as_text(one.before)
    if name == LEFT_OUT_FOVS:
        option = "the session"
    if option:
        return f"take {option} out of {variable} {now}" if is_out else f"set {option} in {variable} to {before} {now}"
    return f"unset {variable} {now}" if is_out else f"set {variable} to {before} {now}"


def _origin(name: str, one: ChangedSetting, settings: MesoSettings) -> str:
    """Say where the value of now comes from."""
    value, default = (of.model_dump(mode="json", include={name})[name] for of in (settings, _bare()))
    is_table = isinstance(default, dict)
    if one.is_given and not is_table and value != one.now:
        return _OF_ALYX
    if value == default:
        return _DEFAULT
    # services and runs get all settings as variables, whatever they were read from
    file, given = settings_file(), os.environ.get(variable_of(name))
    if file is not None:
        told = TomlConfigSettingsSource(MesoSettings, file)().get(name)
        if told is not None and (given is None or given == str(told)):
            return f"set in {file.absolute()}"
    return "set by the caller" if given is None else "set in the environment"


@lru_cache
def _bare() -> MesoSettings:
    return MesoSettings.model_construct()
