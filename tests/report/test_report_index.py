"""The index over all reports: each session once, the worst readable first, and quick with a thousand of them."""

import re

import pytest
from large_session import report_inputs

from meso_core.report import IndexedSession, SessionLine, make_index, make_report


def line(n, level="PASS", **changes):
    key = f"SP{n % 30:03d}/2023-{1 + n % 12:02d}-{1 + n % 28:02d}/{1 + n // 360:03d}"
    subject, date, _ = key.split("/")
    words = {"PASS": "Good", "WARNING": "Look", "FAIL": "Bad"}[level]
    known = {"n_fovs": 8, "n_cells": n, "n_rois": 2 * n, "n_frames": 8000, "noise_percent": 1.5, "motion_um": n / 10}
    record = SessionLine(key, subject, date, level, words, {level: 1}, **{**known, **changes})
    return IndexedSession(key, record, f"{key}/reports/session_report.html")


def test_a_line_comes_back_as_it_was_and_a_later_version_may_say_more():
    one = line(3, activity=(1, 2, 3)).line
    assert SessionLine.from_record({**one.as_record(), "something_new": 1}) == one
    with pytest.raises(KeyError):
        SessionLine.from_record({**one.as_record(), "level": "PERHAPS"})


def test_the_line_of_a_session_counts_what_is_there(tmp_path):
    inputs = report_inputs(tmp_path, n_rois=9, n_frames=400, preset_name="tiny")
    found = make_report(inputs).summary
    types = [of["mpciROIs.mpciROITypes"] for of in inputs.datasets.values()]
    assert (found.n_fovs, found.n_rois, found.n_cells) == (3, 27, sum(int((t > 0).sum()) for t in types))
    assert found.n_frames == 400
    assert (found.subject, found.date, found.level) == (inputs.session.subject, inputs.session.date, "PASS")
    assert len(found.activity) == 48
    assert (min(found.activity), max(found.activity)) == (0, 100)


def test_each_session_is_named_once_linked_and_what_cannot_be_read_says_why():
    sessions = [line(1), line(2, "FAIL"), IndexedSession("SP099/2023-01-01/001", why="no report was made")]
    page = make_index(sessions).decode()
    assert [page.count(f">{one.session}<") for one in sessions] == [1, 1, 1]
    assert page.count('href="SP') == 2
    assert "no report was made" in page
    assert "1 bad, 1 good, 1 no report" in page
    assert make_index(list(reversed(sessions))).decode() == page


def test_names_of_others_are_escaped():
    evil = "<img src=x>"
    page = make_index([IndexedSession(evil, why=evil)]).decode()
    assert evil not in page


def test_a_thousand_sessions_fit_in_one_small_page():
    page = make_index([line(n, activity=tuple(range(48))) for n in range(1000)])
    assert len(page) < 2_500_000
    assert len(re.findall(rb"<tr class", page)) == 1000
