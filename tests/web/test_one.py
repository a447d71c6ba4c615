"""A second interface, or one on a port that is taken, is refused in one line before anything is started."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.web.one_interface import alone, insist_on_free_port
from meso_core.errors import ProcessingError

URL = "http://127.0.0.1:3000"


def test_a_port_on_which_others_listen_is_refused_before_anything_starts(tmp_path, monkeypatch):
    (tmp_path / "Subjects").mkdir()
    monkeypatch.setenv("MESO_ROOT", str(tmp_path / "Subjects"))
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = CliRunner().invoke(group, ["dev", "--port", str(port)])
    assert isinstance(told.exception, ProcessingError)
    assert (
        f"http://127.0.0.1:{port}: expected an address of this machine, and a port that is free, found another program"
        in str(told.exception)
    )
    assert not (tmp_path / "home").exists()
    insist_on_free_port("127.0.0.1", port)  # as the remedy says: that program has ended


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_this_machine_does_not_have_is_named(host):
    with pytest.raises(ProcessingError, match=rf"http://{host}:3000: expected an address of this machine"):
        insist_on_free_port(host, 3000)


def other_interface(home):
    """Be an interface in another process, until its input is closed."""
    code = (
        "import sys; from pathlib import Path; from meso_assets.web.one_interface import alone\n"
        f"with alone(Path(sys.argv[1]), {URL!r}): print('up', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    return process


def test_a_second_interface_of_a_home_is_told_where_the_first_is(tmp_path):
    with other_interface(tmp_path) as first:
        with (
            pytest.raises(ProcessingError, match=rf"found one at {URL} \(process {first.pid} on "),
            alone(tmp_path, URL),
        ):
            pass
        first.stdin.close()
    with alone(tmp_path, URL):  # as the remedy says
        pass


def test_an_interface_that_was_killed_holds_nobody_up(tmp_path):
    with other_interface(tmp_path) as killed:
        os.kill(killed.pid, signal.SIGKILL)
    with alone(tmp_path, URL):
        pass
