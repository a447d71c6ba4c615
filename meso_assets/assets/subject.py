"""What Alyx says of a session's subject, asked for at the start of what depends on it.

What belongs here: asking, and telling what was used. The answer is kept with the session (``meso_core.alyx``); how it
becomes part of what a result depends on is in ``defs.standing.standings``.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from meso_core.errors import MesoError, MesoWarning

from ..defs.guard import Context
from ..io.alyx import Alyx
from ..io.resources import Platform
from ..runs.settings.settings import MesoSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A processing run does not wait long for a server.
_TRIES = 2


def ask_alyx(context: Context, platform: Platform, alyx: Alyx) -> None:
    """Ask Alyx for the subject of a session, and keep the answer; one that was kept before stays where it cannot be.

    Warns
    -----
    MesoWarning
        If Alyx could not be asked, or has no such subject.
    """
    if not alyx.is_online:
        return
    from meso_core.alyx import ask_subject, keep_answer

    session = platform.session(context.partition_key, context.instance)
    try:
        answer = ask_subject(alyx.connect(tries=_TRIES), session.key.subject)
    except MesoError as error:
        told = f"{session.key}: Alyx was not asked for the subject, what it said before counts: {error}"
        warnings.warn(told, MesoWarning, stacklevel=2)
        return
    with session.recording() as folder:
        is_news = keep_answer(folder, answer)
    if is_news:
        context.log.info(f"Alyx says of {answer.subject}: alleles {answer.genotype or 'none'}")


def tau_metadata(settings: MesoSettings, own: MesoSettings, options: Mapping[str, Any]) -> dict[str, float | str]:
    """Tell which decay time of the indicator was used, and why.

    Parameters
    ----------
    settings
        Settings of the platform.
    own
        The same, with what Alyx said of the subject.
    options
        suite2p options of this run.
    """
    from meso_core.imaging import Suite2pOverrides, get_default_tau

    for given, source in ((options, "suite2p option of this run"), (settings.suite2p, "MESO_SUITE2P")):
        tau = Suite2pOverrides.parse(dict(given)).values.get("tau")
        if isinstance(tau, int | float):
            return {"tau_s": float(tau), "tau_from": source}
    if settings.genotype:
        source = f"MESO_GENOTYPE: {settings.genotype}"
    else:
        source = f"genotype in Alyx: {own.genotype}" if own.genotype else "the default, no genotype is known"
    return {"tau_s": get_default_tau(own.genotype), "tau_from": source}
