"""Sessions audited in several processes: the same answers in the same order, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from meso_assets.defs.lineage import auditing
from meso_assets.defs.lineage.auditing import AuditOrder, KnownSession, audit_all
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import MissingInputError, ProcessingError, SettingsError, StorageError
from meso_core.lineage import Kind, earlier_verdicts, last_verdict
from meso_core.session import SessionKey

N_SESSIONS = 23


@pytest.fixture
def settings(tmp_path):
    """Settings of a root with sessions, some of which have something to tell."""
    for number in range(N_SESSIONS):
        folder = tmp_path / "root" / "SP035" / "2023-03-03" / f"{number:03d}"
        (folder / "raw_imaging_data_00").mkdir(parents=True)
        (folder / "raw_imaging_data_00" / "a.tif").write_bytes(b"tif")
        if number % 5 == 0:
            (folder / "alf" / "FOV_00").mkdir(parents=True)
            (folder / "alf" / "FOV_00" / "mpci.times.npy").write_bytes(b"left")
    return load_settings({"root": tmp_path / "root", "home": tmp_path / "home", "cores": 2, "memory_gb": 1})


@pytest.fixture
def few_are_worth_a_process(monkeypatch):
    monkeypatch.setattr(auditing, "_WORTH_A_PROCESS", 2)
    monkeypatch.setattr(auditing, "_AT_A_TIME", 3)


def known():
    return [KnownSession(SessionKey.parse(f"SP035/2023-03-03/{i:03d}"), {}, {}) for i in range(N_SESSIONS)]


def answers(settings, sessions, calls=None):
    def tell(*call):
        if calls is not None:
            calls.append(call)

    found = list(audit_all(iter(sessions), len(sessions), settings, AuditOrder(), tell))
    return [(one.key, one.is_news, one.verdict and one.verdict.findings, type(one.error)) for one in found]


def test_processes_give_the_answers_of_one_in_the_order_of_the_sessions(settings, few_are_worth_a_process):
    gone = KnownSession(SessionKey.parse("SP036/2023-03-03/001"), {}, {})
    sessions = [*known()[:9], gone, *known()[9:]]
    calls: list[tuple[int, int, str]] = []
    several = answers(settings, sessions, calls)
    assert [key for key, *_ in several] == [one.key for one in sessions]
    assert several[9][2:] == (None, MissingInputError)
    told = {str(key) for key, _, findings, _ in several if findings}
    assert told == {f"SP035/2023-03-03/{i:03d}" for i in range(0, N_SESSIONS, 5)}
    assert {one.kind for _, _, findings, _ in several for one in findings or ()} == {Kind.ORPHANED}
    assert calls == [(i + 1, len(sessions), "sessions audited") for i in range(len(sessions))]
    alone = answers(settings.model_copy(update={"cores": 1}), sessions)
    assert [one[:1] + one[2:] for one in alone] == [one[:1] + one[2:] for one in several]
    assert [news for _, news, *_ in several] == [key != gone.key for key, *_ in several], "the first audit is news"
    assert not any(news for _, news, *_ in alone), "the same again is none"


def test_what_is_found_again_is_a_line_of_the_history_and_the_whole_verdict_stays(settings):
    folder = settings.root / str(known()[0].key)
    (first,) = audit_all(known()[:1], 1, settings, AuditOrder())
    (again,) = audit_all(known()[:1], 1, settings, AuditOrder())
    assert (first.is_news, again.is_news) == (True, False)
    assert last_verdict(folder) == first.verdict
    assert len(earlier_verdicts(folder)) == 2
    (deep,) = audit_all(known()[:1], 1, settings, AuditOrder(deep=True))
    assert not deep.is_news
    assert last_verdict(folder) == deep.verdict, "compared to another depth"


@pytest.mark.parametrize("left", [b"", b"\0" * 700])
def test_a_verdict_that_the_power_took_counts_as_none(settings, left):
    folder = settings.root / str(known()[0].key)
    list(audit_all(known()[:1], 1, settings, AuditOrder()))
    (folder / ".meso/audit/last.json").write_bytes(left)
    assert last_verdict(folder) is None
    (again,) = audit_all(known()[:1], 1, settings, AuditOrder())
    assert again.is_news
    assert last_verdict(folder) == again.verdict


def test_what_is_found_is_told_where_it_cannot_be_kept_but_nothing_is_accepted_there(settings):
    (settings.root / str(known()[0].key) / ".meso").mkdir()
    (settings.root / str(known()[0].key) / ".meso" / "audit").write_bytes(b"in the way, as a disk that is read-only")
    (told,) = audit_all(known()[:1], 1, settings, AuditOrder())
    assert [finding.kind for finding in told.verdict.findings] == [Kind.ORPHANED]
    assert isinstance(told.error, StorageError)
    assert not told.is_news
    (refused,) = audit_all(known()[:1], 1, settings, AuditOrder(who="Ada", why="seen"))
    assert (refused.verdict, type(refused.error)) == (None, StorageError)


def test_sessions_are_taken_as_they_are_needed(settings, few_are_worth_a_process):
    """Memory does not grow with their number."""
    taken = 0

    def one_by_one():
        nonlocal taken
        for one in known() * 4:
            taken += 1
            yield one

    answered = audit_all(one_by_one(), 4 * N_SESSIONS, settings, AuditOrder())
    for done, _ in enumerate(answered, 1):
        assert taken <= done + 3 * (2 * settings.cores + 1)
    assert taken == done == 4 * N_SESSIONS


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_is_a_named_error(settings, few_are_worth_a_process, monkeypatch):
    monkeypatch.setattr(auditing, "_audit_some", killed)
    with pytest.raises(ProcessingError, match="one was killed"):
        answers(settings, known())


def test_nobody_accepts_without_a_name_or_a_reason():
    for order in ({"who": "Ada"}, {"why": "repaired", "who": " "}):
        with pytest.raises(SettingsError, match="who and why"):
            AuditOrder(**order)
    assert replace(AuditOrder(), who="Ada", why="repaired").why == "repaired"


AUDITS_AGAIN_AND_AGAIN = """
import itertools, signal, sys
from meso_assets.defs.lineage.auditing import AuditOrder, KnownSession, audit_all
from meso_assets.runs.settings.settings import load_settings
from meso_core.session import SessionKey
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # where Dagster has made the two alike
    settings = load_settings({"root": sys.argv[1], "home": sys.argv[2], "cores": 2, "memory_gb": 1})
    known = KnownSession(SessionKey.parse("SP035/2023-03-03/000"), {}, {})
    for one in audit_all(itertools.repeat(known), 10**6, settings, AuditOrder()):
        print(one.key, flush=True)
"""


def members(group):
    """Processes of a group that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_audit_that_is_stopped_or_killed_leaves_no_process_and_no_part_of_a_file(settings, tmp_path, number):
    command = [sys.executable, "-c", AUDITS_AGAIN_AND_AGAIN, str(settings.root), str(settings.home)]
    audit = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert audit.stdout is not None
    assert audit.stdout.readline() == "SP035/2023-03-03/000\n"
    assert len(members(audit.pid)) >= 3, "itself and two others"
    if number == signal.SIGINT:  # of a terminal, to all of them
        os.killpg(audit.pid, number)
    else:
        audit.send_signal(number)
    _, told = audit.communicate(timeout=60)
    until = time.monotonic() + 10
    while members(audit.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert members(audit.pid) == []
    assert told.count("Traceback") == (1 if number == signal.SIGINT else 0), told
    if number == signal.SIGINT:
        assert told.rstrip().endswith("KeyboardInterrupt")
        assert [file for file in settings.root.rglob("*.part")] == []
