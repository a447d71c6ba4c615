"""Dagster's records in PostgreSQL: which server a home names, whether it answers, and what may be told of it.

What belongs here: addresses, connections, and errors with a way out. The address holds a password: it stays in the
environment, and nothing here shows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from meso_core.errors import SettingsError, StorageError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

#: The address, as ``postgresql://user:password@host:5432/database``.
ADDRESS_VARIABLE = "MESO_POSTGRES"
#: What stands at the end of ``dagster.yaml`` in a home whose records are on a server.
STORAGE = f"""
# Records in PostgreSQL. The address holds a password: it stays in the environment.
storage:
  postgres:
    postgres_url:
      env: {ADDRESS_VARIABLE}
"""
_EXAMPLE = "postgresql://user:password@host:5432/database"
_PACKAGES = ("dagster_postgres", "psycopg2")
#: The driver that Dagster works with; without its name SQLAlchemy takes another one from 2.1 on.
_DRIVER = "postgresql+psycopg2"
#: What a server has to answer in, s.
ANSWERS_WITHIN_S = 5


def chosen_address() -> str:
    """Return the address that the environment names; empty where it names none."""
    return os.environ.get(ADDRESS_VARIABLE, "").strip()


def name_driver() -> None:
    """Let the address in the environment of this process and its children name the driver, for Dagster reads it there.

    Raises
    ------
    SettingsError
        If it is no address of PostgreSQL.
    """
    if address := chosen_address():
        os.environ[ADDRESS_VARIABLE] = parsed(address).render_as_string(hide_password=False)


def address_of(home: Path) -> str | None:
    """Find the address of the server that ``dagster.yaml`` names; None where it names no PostgreSQL.

    Raises
    ------
    SettingsError
        If it names a variable that is not set.
    """
    try:
        told = (yaml.safe_load((home / "dagster.yaml").read_text()) or {}).get("storage") or {}
    except (OSError, yaml.YAMLError, AttributeError):
        return None  # Dagster tells what is wrong with it
    server = told.get("postgres") if isinstance(told, dict) else None
    if not isinstance(server, dict):
        return None
    if url := server.get("postgres_url"):
        return _value(home, url)
    parts = {name: _value(home, value) for name, value in (server.get("postgres_db") or {}).items() if name != "params"}
    return _url_of(parts) if parts else None


def _value(home: Path, told: object) -> str:
    """Return a value of ``dagster.yaml``, which may name a variable."""
    if not isinstance(told, Mapping):
        return str(told)
    name = str(told.get("env", ""))
    if not os.environ.get(name):
        raise SettingsError.at(
            home / "dagster.yaml",
            expected=f"the address of the PostgreSQL server in the variable {name}",
            found="it is not set",
            remedy=f"Set it for each process of meso, as in {_EXAMPLE}, in a file that its owner alone may read",
        )
    return os.environ[name].strip()


def _url_of(parts: Mapping[str, str]) -> str:
    from sqlalchemy import URL

    names = {"username": "username", "password": "password", "hostname": "host", "db_name": "database"}
    given: dict[str, Any] = {ours: parts[theirs] for theirs, ours in names.items() if theirs in parts}
    url = URL.create(_DRIVER, **given, port=int(parts.get("port", "5432")))
    return url.render_as_string(hide_password=False)


def insist_on_packages() -> None:
    """Refuse to go on without what Dagster needs to talk to PostgreSQL.

    Raises
    ------
    SettingsError
        With the command that installs it.
    """
    if lacking := [name for name in _PACKAGES if find_spec(name) is None]:
        found = f"{', '.join(lacking)} not installed"
        remedy = "pip install 'meso[postgres]'"
        raise SettingsError.at(ADDRESS_VARIABLE, expected="packages for PostgreSQL", found=found, remedy=remedy)


def insist_on_answer(home: Path) -> None:
    """Refuse to go on where the server that a home names does not answer; nothing is asked of other databases.

    Raises
    ------
    StorageError, SettingsError
        With what is wrong, without the password.
    """
    if (address := address_of(home)) is not None:
        insist_on_packages()
        with connected(address):
            pass


def insist_on_one_choice(home: Path) -> None:
    """Refuse to use the SQLite files of a home while the environment names a server.

    Raises
    ------
    SettingsError
        With both ways to go on.
    """
    if chosen_address():
        raise SettingsError.at(
            home / "dagster.yaml",
            expected=f"records in PostgreSQL, as {ADDRESS_VARIABLE} says",
            found="records in the SQLite files of this home",
            remedy=f"Bring them over with `meso instance migrate`, or unset {ADDRESS_VARIABLE}",
        )


def parsed(address: str) -> URL:
    """Take an address apart; it names the driver.

    Raises
    ------
    SettingsError
        If it is none of PostgreSQL's.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    url = None
    with suppress(ArgumentError, ValueError):
        url = make_url(address)
    if url is None or url.get_backend_name() not in ("postgresql", "postgres") or not url.database:
        found = "another text (it may hold a password, so it is not shown)" if address else "nothing"
        remedy = f"Write it as {_EXAMPLE}; signs such as @ and / in a password as %40 and %2F"
        raise SettingsError.at(ADDRESS_VARIABLE, expected="an address of PostgreSQL", found=found, remedy=remedy)
    return url.set(drivername=_DRIVER)


def shown(address: str) -> str:
    """Show host, port and database of an address, and nobody's name or password."""
    url = parsed(address)
    queried = url.query.get("host", "")
    host = url.host or (queried if isinstance(queried, str) else queried[0]) or "this machine"
    return f"{host}{f':{url.port}' if url.port else ''}/{url.database}"


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    """Open a connection, closed at the end.

    Raises
    ------
    StorageError
        If the server does not answer, lets the user not in, or ends while it is at work.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    options = {"connect_timeout": ANSWERS_WITHIN_S}
    engine = create_engine(parsed(address), poolclass=NullPool, connect_args=options, hide_parameters=True)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise server_error(address, str(error.orig)) from None
    finally:
        engine.dispose()


def other_layout(home: Path) -> StorageError:
    """Make the error of tables that another version of Dagster has made; other machines may use them."""
    address = address_of(home)
    return StorageError.at(
        f"PostgreSQL at {shown(address)}" if address else home / "dagster.yaml",
        expected="tables as this version of Dagster lays them out",
        found="those of another version",
        remedy=f"Stop meso on all machines, back up (`meso instance backup`), then `dagster instance migrate` with "
        f"DAGSTER_HOME={home}",
    )


def error_of(home: Path, chain: Sequence[BaseException]) -> StorageError | None:
    """Find out whether an error, or one that led to it, came from the server of a home; None if it did not."""
    for one in chain:
        found = str(getattr(one, "orig", None) or "")
        if found or type(one).__module__.startswith(("dagster_postgres.", "psycopg2")):
            with suppress(SettingsError):
                if address := address_of(home):
                    return server_error(address, found or str(one))
    return None


def server_error(address: str, found: str) -> StorageError:
    """Make the error of a server that does not do what it is asked."""
    password = parsed(address).password
    lines = [line.strip() for line in found.splitlines() if line.strip()]
    first = lines[0] if lines else "no reason told"
    return StorageError.at(
        f"PostgreSQL at {shown(address)}",
        expected="a server that takes Dagster's records",
        found=first.replace(str(password), "…") if password else first,
        remedy=f"Look whether it runs and is reached from here, and at address, user and password in "
        f"{ADDRESS_VARIABLE}; then run it again. No result is lost: those are in the sessions",
    )
