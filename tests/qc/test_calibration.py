"""Verdicts are calibrated: each fires on its fault and on no other, and none on good sessions.

The usual run looks at a sample; the whole sweep, with 200 good sessions, is nightly. ``docs/qc.md`` shows a table.
"""

from __future__ import annotations

import pytest

from benchmarks.qc_calibration import FAULTS, FIRE, false_alarms, fired, good, sweep, with_fault

#: Severities from which on each fault must be told on each session.
SURE = {name: severities[-1] for name, (_, _, severities) in FAULTS.items()}


@pytest.mark.parametrize("seed", [0, 1])
def test_no_verdict_fires_on_a_good_session(seed):
    assert fired(good(seed)) == frozenset()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_by_its_own_verdicts_and_by_no_others(fault):
    found = fired(with_fault(1, fault, SURE[fault]))
    assert found & FIRE[fault], found
    assert found <= FIRE[fault], found


def test_no_two_faults_are_told_by_the_same_verdict():
    told = [name for names in FIRE.values() for name in names]
    assert len(told) == len(set(told))


@pytest.mark.nightly
def test_no_verdict_fires_on_two_hundred_good_sessions():
    n, alarms = false_alarms(range(200))
    assert (n, alarms) == (200, {})


@pytest.mark.nightly
@pytest.mark.parametrize("fault", FAULTS)
def test_detection_rises_with_severity_to_nearly_all_sessions_and_other_verdicts_stay_silent(fault):
    rows = list(sweep(range(1000, 1010), [fault]))
    told = [row.n_told for row in rows]
    assert told == sorted(told)
    assert told[-1] >= 9, rows
    assert [row.n_other for row in rows] == [0] * len(rows), rows
