"""Verdicts are calibrated: each fires on its fault and on no other, and none on good sessions.

The usual run looks at a sample; the whole sweep, with 200 good sessions, is nightly. ``docs/qc.md`` shows its tables.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.qc_calibration import (
    FAULTS,
    LONG_STUDY,
    SHORT_FAULTS,
    SHORT_STUDY,
    Record,
    Row,
    false_alarms_in_words,
    good,
    on_page,
    table,
)
from meso_core.qc import CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "qc.md").read_text()
#: What follows from a fault when suite2p goes on with it, and says so on the page.
FOLLOWS = {"motion beyond reach": frozenset({"decay_mismatch"})}
STUDIES = {"long": LONG_STUDY, "short": SHORT_STUDY}


@pytest.fixture(scope="module")
def record() -> Record:
    """What was judged already, so that no session is judged twice."""
    return Record()


@pytest.mark.parametrize("seed", [0, 1])
def test_no_verdict_fires_on_a_good_session(seed, record):
    assert LONG_STUDY.fired(good(seed), record) == frozenset()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_by_its_own_verdicts_and_by_no_others(name, record):
    fault = FAULTS[name]
    found = LONG_STUDY.fired(fault.session(1, fault.severities[-1]), record)
    assert found & fault.checks, found
    assert found <= fault.checks, found


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_each_verdict_that_is_to_tell_a_fault_is_a_check(study):
    assert {check for fault in study.faults.values() for check in fault.checks} <= set(CHECKS)


def test_no_two_faults_of_long_sessions_are_told_by_the_same_verdict_but_the_dark_and_noise_by_that_of_the_cells():
    told = Counter(check for fault in FAULTS.values() for check in fault.checks)
    assert {check for check, n in told.items() if n > 1} == {"noise_level"}


def test_a_record_gives_back_what_was_judged_and_judges_again_where_the_last_line_was_cut(tmp_path):
    (clock,) = [one for one in LONG_STUDY.parts if one.name == "clock"]
    file, judged = tmp_path / "record.jsonl", []
    part = replace(clock, judge=lambda session: judged.append(session) or clock.judge(session))
    dropped, usual = FAULTS["dropped pulses"].session(5, 3), good(6)
    first = [Record(file).results(part, session) for session in (dropped, usual)]
    again = [Record(file).results(part, session) for session in (dropped, usual)]
    told = [
        [(one.check, one.verdict, one.value) for results in sessions for one in results] for sessions in (first, again)
    ]
    assert told[0] == told[1]
    assert judged == [part.alike(dropped), part.alike(usual)]
    file.write_text(file.read_text()[:-9])
    Record(file).results(part, dropped)
    assert len(judged) == 2
    Record(file).results(part, usual)
    assert len(judged) == 3, "what was cut is judged again"
    Record(file).results(part, usual)
    assert len(judged) == 3, "and kept on a line of its own"


def tables_of_the_page() -> list[str]:
    return re.findall(r"<!-- calibration -->\n(.+?)\n<!-- /calibration -->", PAGE, flags=re.DOTALL)


def test_what_was_printed_is_put_into_the_page_at_its_marks_and_nowhere_else():
    printed = ["one", "two"]
    page = "a\n<!-- calibration -->\nold\n<!-- /calibration -->\nb\n<!-- calibration -->\n<!-- /calibration -->\nc"
    put = on_page(page, printed)
    assert re.findall(r"<!-- calibration -->\n(.*?)\n<!-- /calibration -->", put) == printed
    assert [line for line in put.splitlines() if line in "abc"] == ["a", "b", "c"]
    assert on_page(put, printed) == put


@pytest.mark.parametrize("place", range(len(tables_of_the_page())))
def test_the_page_shows_what_the_command_prints(place):
    """Sentence and table have the form of the command, with all faults and severities, and no false alarm."""
    study = list(STUDIES.values())[place]
    sentence, shown = tables_of_the_page()[place].split("\n\n")
    n_good = int(re.search(r"On (\d+) good sessions", sentence)[1])
    assert sentence == false_alarms_in_words(n_good, Counter())
    lines = iter(shown.splitlines()[2:])
    rows = []
    for fault in study.faults.values():
        for severity in fault.severities:
            told, other, checks = (cell.strip() for cell in next(lines).strip("|").split("|")[2:])
            (n_told, n), (n_other, _) = (map(int, cell.split(" of ")) for cell in (told, other))
            fired = {name: int(count) for name, count in re.findall(r"`(\w+)` (\d+)", checks)}
            rows.append(Row(fault, severity, n, n_told, n_other, fired))
            assert max((fired.get(check, 0) for check in fault.checks), default=0) <= n_told <= n
            others = set(fired) - fault.checks
            assert (n_other == 0) is (not others), (fault.name, severity)
            assert others <= FOLLOWS.get(fault.name, frozenset()), (fault.name, severity)
    assert shown == table(rows)
    assert n_good >= 10


@pytest.mark.nightly
def test_no_verdict_fires_on_two_hundred_good_sessions(record):
    assert LONG_STUDY.false_alarms(range(200), record) == (200, {})


@pytest.mark.nightly
@pytest.mark.parametrize("name", FAULTS)
def test_detection_rises_with_severity_to_nearly_all_sessions_and_other_verdicts_stay_silent(name, record):
    rows = list(LONG_STUDY.sweep(range(1000, 1010), record, [name]))
    told = [row.n_told for row in rows]
    assert told == sorted(told)
    assert told[-1] >= 9, rows
    assert [row.n_other for row in rows] == [0] * len(rows), rows


@pytest.mark.nightly
def test_no_verdict_fires_on_good_sessions_that_suite2p_registers_and_finds_cells_in(record):
    assert SHORT_STUDY.false_alarms(range(10), record) == (10, {})


@pytest.mark.nightly
@pytest.mark.parametrize("name", SHORT_FAULTS)
def test_suite2p_and_all_verdicts_after_it_tell_a_fault_by_its_own_verdicts(name, record):
    rows = list(SHORT_STUDY.sweep(range(1000, 1002), record, [name]))
    assert rows[-1].n_told == 2, rows
    for row in rows:
        assert set(row.checks) <= row.fault.checks | FOLLOWS.get(name, frozenset()), row
