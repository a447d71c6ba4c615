"""The Dagster instance of meso: its configuration, and its home folder, found or made.

What belongs here: where Dagster keeps its records and with which limits, and who may open them when. ``dagster.yaml``
beside this file is the one configuration; it is copied into the home when that is made, and a lab may edit the copy. A
copy that nobody has edited follows.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path

import dagster as dg

from meso_core.errors import InputFileError, MissingInputError, StorageError
from meso_core.opening import RECORD_BYTES, read_plain
from meso_core.storage.files.atomic import clear_parts, storage_errors, write_file
from meso_core.storage.files.locks import NO_LOCKS

from ...defs.dagster_internals import layouts_are_current, set_pool_size
from ...defs.running.dead_runs import end_dead_runs
from ..settings.settings import MesoSettings
from . import on_server
from .packing import pack_new_files_closely
from .records import MAIN, back_up, check_main, keeps_sqlite, make_missing
from .server_users import server_alone, uses_server

#: Steps that run suite2p share this pool: as many at a time as the engine has places.
SUITE2P_POOL = "suite2p"

CONFIGURATION = Path(__file__).with_name("dagster.yaml")
#: SHA-256 of that file as earlier versions had it.
_EARLIER = frozenset(
    {
        "43ada729f77f3527ccef24bb94a88d36705d2b7605a7947ff645e0b27794ca08",
        "47ab21e079b0efb239e3822cb2d62e9a4f8c7dfab70f03eec1a087cf39490163",
        "589f56e1150b4046e29091c1f5ec750767750d44bdec90b47426ed6002f39c6c",
        "f5f1a7b2e5764e5cfaa5a34013f309e436201d3b11e5e0f21a6be1a5dde6b7ba",
        "f57f27b209e8d943b83bd48ebef259df4e511e52ca5a91c5e4f7ffd3e18fb6f0",
    }
)
#: Lines of that file that tell how many runs are at work at once, all and long ones, and what they are where the steps
#: go to a cluster: what leads a run there takes some 300 MB, and waits. The last is that of earlier versions.
_RUNS = (
    (b"\n    max_concurrent_runs: 4\n", b"\n    max_concurrent_runs: 10\n"),
    (b"\n        limit: 2\n", b"\n        limit: 8\n"),
    (b"\n    max_concurrent_runs: 2\n", b"\n    max_concurrent_runs: 8\n"),
)
#: Files of the home: held by whoever opens it, for as long as that takes; by all who use it; and which version did so.
_OPENING, _IN_USE, _VERSION = ".opening.lock", ".in-use.lock", ".dagster-version"


def prepare_home(settings: MesoSettings) -> Path:
    """Find or make the folder of Dagster's records, and tell Dagster where it is.

    Returns
    -------
    pathlib.Path
        The folder; ``DAGSTER_HOME`` of this process and its children points to it.

    Raises
    ------
    StorageError
        If the folder cannot be made or written.
    """
    home = settings.dagster_home
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists():
            with _locked(home / _OPENING, fcntl.LOCK_EX):
                clear_parts(home / "dagster.yaml")
                write_file(home / "dagster.yaml", _configuration(settings) + _storage_of_a_new_home(home))
        elif (newer := _what_follows(home / "dagster.yaml")) is not None:
            with contextlib.suppress(StorageError, OSError), _locked(home / _OPENING, fcntl.LOCK_EX):
                write_file(home / "dagster.yaml", newer)
    except StorageError:  # it says what is wrong: no room, no locks
        raise
    except OSError as error:
        raise StorageError.at(
            home,
            expected="a folder for Dagster's records, or a place to make it",
            found=str(error),
            remedy="Set MESO_HOME (or DAGSTER_HOME) to a folder that you may write",
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)
    on_server.name_driver()
    pack_new_files_closely()
    return home


def _storage_of_a_new_home(home: Path) -> bytes:
    """Name the server of the environment, if there is one and the home has no records yet."""
    has_records = any((home / name).exists() for name in MAIN)
    return on_server.STORAGE.encode() if on_server.chosen_address() and not has_records else b""


def _configuration(settings: MesoSettings) -> bytes:
    """Make the configuration of a new home: a cluster has room for more runs than one machine."""
    text = CONFIGURATION.read_bytes()
    return _for_cluster(text) if settings.steps_go_elsewhere else text


def _for_cluster(text: bytes) -> bytes:
    for here, on_cluster in _RUNS:
        text = text.replace(here, on_cluster)
    return text


def _for_one_machine(text: bytes) -> bytes:
    for here, on_cluster in _RUNS:
        text = text.replace(on_cluster, here)
    return text


def _what_follows(file: Path) -> bytes | None:
    """Make what a copy is to be that an earlier version made and nobody has edited since; None for any other."""
    try:
        text = read_plain(file, RECORD_BYTES)
    except (MissingInputError, InputFileError):  # whoever opens it will tell
        return None
    behind = on_server.STORAGE.encode()
    copy = text.removesuffix(behind)
    here = _for_one_machine(copy)
    if hashlib.sha256(here).hexdigest() not in _EARLIER:
        return None
    now = CONFIGURATION.read_bytes()
    return (now if copy == here else _for_cluster(now)) + text.removeprefix(copy)


@contextmanager
def open_instance(settings: MesoSettings, tell: Callable[[str], None] = lambda _: None) -> Iterator[dg.DagsterInstance]:
    """Open the instance of the settings' home.

    Commands that open it at once wait for one another. What is missing is made, records of an older Dagster are brought
    to its layout, and runs whose process is gone are marked as interrupted.

    Parameters
    ----------
    settings
        Settings of the platform.
    tell
        Told of each run that was found dead.

    Raises
    ------
    StorageError
        If the records are damaged, must be brought to a new layout while somebody uses them, or are on a server that
        does not answer.
    SettingsError
        If the home and ``MESO_POSTGRES`` name different places for the records.
    """
    home = prepare_home(settings)
    with contextlib.ExitStack() as until_end:
        with _locked(home / _OPENING, fcntl.LOCK_EX), storage_errors(home):
            if keeps_sqlite(home):
                on_server.insist_on_one_choice(home)
                make_missing(home)
                check_main(home)
            else:
                on_server.insist_on_answer(home)
            instance = until_end.enter_context(dg.DagsterInstance.from_config(str(home)))
            _bring_up_to_date(home, instance)
            until_end.enter_context(in_use(home))
        for dead in end_dead_runs(instance):
            tell(str(dead))
        yield instance


def size_pool(instance: dg.DagsterInstance, settings: MesoSettings) -> None:
    """Let as many steps of suite2p run at a time as the engine of these settings has places.

    For whoever starts or leads runs, and nobody else: a command that only looks, perhaps without the settings of the
    cluster, must not lower what the runs of a cluster have.
    """
    set_pool_size(instance, SUITE2P_POOL, settings.places)


def records_are_current(home: Path) -> None:
    """Make missing SQLite files, and bring the records to the layout of this Dagster.

    Raises
    ------
    StorageError
        As :func:`open_instance`.
    """
    with _locked(home / _OPENING, fcntl.LOCK_EX), storage_errors(home):
        make_missing(home)
        check_main(home)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            _bring_up_to_date(home, instance)


@contextmanager
def sole_use(home: Path) -> Iterator[None]:
    """Keep everybody else from the records; where they are on a server, also other machines, and other homes of it.

    Raises
    ------
    StorageError
        If somebody uses them.
    """
    with (
        _locked(home / _OPENING, fcntl.LOCK_EX),
        _locked(home / _IN_USE, fcntl.LOCK_EX | fcntl.LOCK_NB),
        server_alone(home),
    ):
        yield


@contextmanager
def in_use(home: Path) -> Iterator[None]:
    """Count this process as a user of the records for a while; it dies with the process."""
    with contextlib.ExitStack() as until_end:
        if home.is_dir():
            until_end.enter_context(_locked(home / _IN_USE, fcntl.LOCK_SH))
            until_end.enter_context(uses_server(home))
        yield


def _bring_up_to_date(home: Path, instance: dg.DagsterInstance) -> None:
    """Bring records of another version of Dagster to this one's layout, behind a backup."""
    version, now = home / _VERSION, installed_version("dagster")
    if version.is_file() and version.read_text().strip() == now:
        return
    if not layouts_are_current(instance):
        if not keeps_sqlite(home):
            raise on_server.other_layout(home)
        with _locked(home / _IN_USE, fcntl.LOCK_EX | fcntl.LOCK_NB):
            back_up(home)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                instance.upgrade()
    clear_parts(version)
    write_file(version, f"{now}\n".encode())


@contextmanager
def _locked(file: Path, how: int) -> Iterator[None]:
    """Hold a lock that dies with the process."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError as error:
            raise StorageError.at(
                file.parent,
                expected="records that nobody uses",
                found="`meso dev` or a run that does",
                remedy="Stop `meso dev`, wait for the runs to end, then do it again",
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise StorageError.at(
                file.parent,
                expected="a disk that keeps locks, which Dagster's records need",
                found=error.strerror or str(error),
                remedy="Set MESO_HOME to a folder of a local disk",
            ) from error
        yield
    finally:
        os.close(descriptor)
