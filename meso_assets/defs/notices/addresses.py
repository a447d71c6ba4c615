"""To whom notices go: addresses as Apprise writes them, which are secrets, and the one call that sends.

What belongs here: reading the addresses, and sending one message to one of them. An address never leaves this module:
others see its number and the name of its service. It is no setting, because settings are handed to Dagster, which shows
and keeps them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from meso_core.errors import InputFileError, MissingInputError, SettingsError
from meso_core.opening import read_plain

from ...runs.settings.secret_files import insist_on_secrecy
from ...runs.settings.settings import MesoSettings
from .pages import Page

#: Variable of the environment with addresses, blanks between them.
VARIABLE = "MESO_NOTICES"
_SEPARATORS = re.compile(r"[/:@?&=#,\s]+")
_HELP = "https://appriseit.com/services lists how addresses are written; `meso notices --test` tries them"


@dataclass(frozen=True, slots=True)
class Address:
    """Somewhere to send notices to."""

    #: From 1, in the order in which addresses are given.
    number: int
    #: What kind of service it is, as in ``E-Mail``.
    service: str
    #: Tells addresses apart over time, and says nothing of them.
    id: str
    url: str = field(repr=False)

    def __str__(self) -> str:
        return f"address {self.number} ({self.service})"


def wants_notices(settings: MesoSettings) -> bool:
    """Whether a lab has named an address, or a file of them."""
    return bool(os.environ.get(VARIABLE, "").strip()) or settings.notices_file is not None


def addresses(settings: MesoSettings) -> tuple[Address, ...]:
    """Read the addresses: of the environment, then those of the file, one a line.

    Raises
    ------
    SettingsError
        If one is none that Apprise knows, or the file is not there or may be read by others.
    """
    import apprise

    found: list[Address] = []
    for where, url in _urls(settings):
        number = len(found) + 1
        with _heard():
            plugin = apprise.Apprise.instantiate(url)
        if plugin is None:
            scheme = re.match(r"[a-z0-9]{2,16}(?=://)", url)
            raise SettingsError.at(
                where,
                field=f"address {number}",
                expected="an address as mailtos://user:password@mail.example.org?to=lab@example.org",
                found=f"{scheme.group()}:// and what does not fit it" if scheme else "no kind of address in it",
                remedy=_HELP,
            )
        found.append(Address(number, str(plugin.service_name), hashlib.sha256(url.encode()).hexdigest()[:12], url))
    return tuple(found)


def _urls(settings: MesoSettings) -> Iterator[tuple[str, str]]:
    for url in os.environ.get(VARIABLE, "").split():
        yield VARIABLE, url
    if (file := settings.notices_file) is not None:
        for line in _lines(file):
            if line.strip() and not line.lstrip().startswith("#"):
                yield str(file), line.strip()


def _lines(file: Path) -> list[str]:
    insist_on_secrecy(file)
    try:
        return read_plain(file).decode("utf-8-sig", "replace").splitlines()
    except (MissingInputError, InputFileError) as error:
        remedy = "Make it, with one address a line, or leave MESO_NOTICES_FILE out"
        raise SettingsError.at(
            file, expected="a file of addresses that can be read", found=_why(error), remedy=remedy
        ) from error


def _why(error: Exception) -> str:
    return str(error).partition(", found ")[2].partition(". ")[0] or type(error).__name__


def send(address: Address, subject: str, page: Page) -> str:
    """Send one message to one address.

    Parameters
    ----------
    address
        Where it goes.
    subject, page
        What it says; services without HTML get the text.

    Returns
    -------
    str
        Empty where the service has taken it; else why not, without anything of the address.
    """
    import apprise

    with _heard() as heard:
        try:
            plugin = apprise.Apprise()
            plugin.add(address.url)
            likes = next(one.notify_format for one in plugin)  # one form, or several, the best first
            as_html = apprise.NotifyFormat.HTML in (likes, likes[0])
            form = apprise.NotifyFormat.HTML if as_html else apprise.NotifyFormat.TEXT
            taken = plugin.notify(body=page.html if as_html else page.text, title=subject, body_format=form)
        except Exception as error:  # noqa: BLE001  whatever a service does, runs go on
            return _without_secrets(f"{type(error).__name__}: {error}", address.url)
    return "" if taken else _without_secrets("; ".join(heard) or "it was refused", address.url)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Keep what Apprise tells to ourselves: its lines may hold parts of an address.

    So do its warnings; what it imports is deprecated besides.
    """
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                heard.append(record.getMessage())

    logger, listener = logging.getLogger("apprise"), Listener()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(listener)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield heard
    finally:
        logger.removeHandler(listener)
        logger.propagate = before


def _without_secrets(text: str, url: str) -> str:
    """Take out of a text all that stands in an address, but for its kind."""
    rest = url.partition("://")[2]
    parts = {part for given in (rest, unquote(rest)) for part in _SEPARATORS.split(given) if len(part) > 2}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "…")
    return text
