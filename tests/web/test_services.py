"""Web server and daemon live side by side: where one ends by itself, that is said, and the other ends too."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from meso_assets.web import services
from meso_core.errors import ProcessingError

LIVES = "import time; time.sleep(600)"
DIES = "import os, signal, time; time.sleep(0.3); os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def started(monkeypatch):
    """Programs in place of Dagster's, by name; what was started is kept."""
    found, code = {}, {"dagster-webserver": LIVES, "dagster-daemon": LIVES}

    def start(program, *arguments):
        found[program] = subprocess.Popen([sys.executable, "-c", code[program]], stdin=subprocess.PIPE)
        return found[program]

    monkeypatch.setattr(services, "_start", start)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield found, code
    for number, handler in before.items():
        signal.signal(number, handler)
    for process in found.values():
        process.kill()
        process.wait()
        process.stdin.close()


@pytest.mark.parametrize(
    ("dies", "other"), [("dagster-daemon", "dagster-webserver"), ("dagster-webserver", "dagster-daemon")]
)
def test_a_service_that_dies_is_named_and_the_other_is_ended(started, dies, other):
    found, code = started
    code[dies] = DIES
    with pytest.raises(ProcessingError, match=rf"{dies}: expected a service that runs .*, found its end, with code -9"):
        services.serve("127.0.0.1", 3000)
    assert found[other].poll() == -signal.SIGTERM, "systemd, or a person, starts both again"


def test_sigterm_ends_both_without_an_error(started):
    found, _ = started

    def ask():
        while len(found) < 2:
            time.sleep(0.05)
        time.sleep(0.3)
        signal.raise_signal(signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    services.serve("127.0.0.1", 3000)
    asking.join()
    assert {process.poll() for process in found.values()} == {-signal.SIGTERM}
