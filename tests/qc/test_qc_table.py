"""The table of checks and the limits of a lab: each check has a row, and a limit alone decides a verdict."""

from __future__ import annotations

import itertools

import pytest

from meso_assets.defs.catalogue import CATALOGUE, RECORDS
from meso_core.qc import CHECKS, Limit, QCResult, Verdict, judge, judged, parse_limits, read_results, results_to_json
from meso_core.qc.stored import qc_path

PASS, WARNING, FAIL = Verdict.PASS, Verdict.WARNING, Verdict.FAIL
LIMITED = [name for name, row in CHECKS.items() if row.limit is not None]


def test_each_check_that_an_asset_declares_has_a_row_and_each_row_an_asset_that_declares_it():
    declared = {name for one in (*CATALOGUE.values(), *RECORDS.values()) for name in one.checks}
    assert declared == set(CHECKS)
    assert {row.asset for row in CHECKS.values()} <= {*CATALOGUE, *RECORDS}


@pytest.mark.parametrize("row", CHECKS.values(), ids=CHECKS)
def test_a_row_tells_how_to_read_the_check_in_whole_sentences(row):
    assert row.how_to_read.endswith((".", "?"))
    assert "  " not in row.how_to_read


@pytest.mark.parametrize("check", LIMITED)
def test_verdicts_get_worse_with_the_value_and_not_on_the_limit_itself(check):
    limit = CHECKS[check].limit
    sign = -1 if limit.is_low_bad else 1
    ends = [end for end in (limit.warning, limit.fail) if end is not None]
    values = [end + sign * step for end in ends for step in (-1e-3, 0, 1e-3)]
    verdicts = [judge(check, value, "", "x").verdict for value in sorted(values, key=lambda v: sign * v)]
    assert verdicts == sorted(verdicts)
    for end, worse in zip(ends, ([WARNING, FAIL] if limit.warning is not None else [FAIL]), strict=False):
        assert judge(check, end, "", "x").verdict < worse, "as good as the limit is good"
        assert judge(check, end + sign * 1e-3, "", "x").verdict >= worse


@pytest.mark.parametrize("check", LIMITED)
def test_what_could_not_be_measured_asks_for_a_look(check):
    found = judge(check, float("nan"), "", "x")
    assert (found.value, found.verdict) == (None, WARNING)


def test_another_limit_changes_the_verdict_and_nothing_else():
    stored = judge("light_lost", 0.22, "told", "x", "FOV_00")
    strict = judged(stored, parse_limits({"light_lost": {"warning": 0.2}}))
    worse = judged(stored, parse_limits({"light_lost": {"warning": 0.1, "fail": 0.2}}))
    assert [one.verdict for one in (stored, strict, worse)] == [PASS, WARNING, FAIL]
    assert {(one.value, one.message, one.fov) for one in (stored, strict, worse)} == {(0.22, "told", "FOV_00")}
    assert judged(worse) == stored, "and back"


def test_stored_verdicts_are_read_with_the_limits_of_now(tmp_path):
    file = tmp_path / qc_path("session_qc")
    file.parent.mkdir(parents=True)
    file.write_text(results_to_json((judge("rigid_range", 30.0, "", "x", "FOV_00"),)))
    (usual,) = read_results(tmp_path, "session_qc")
    (strict,) = read_results(tmp_path, "session_qc", {"rigid_range": Limit(10.0, 20.0)})
    assert (usual.verdict, strict.verdict, strict.threshold) == (PASS, FAIL, 20.0)


@pytest.mark.parametrize("check", LIMITED)
def test_a_verdict_is_read_with_the_limit_that_decided_it_and_stored_alike_whatever_it_is(check, tmp_path):
    usual = CHECKS[check].limit
    sign = -1 if usual.is_low_bad else 1
    limit = Limit(10.0, 10.0 + 5 * sign, usual.is_low_bad)
    told = [judge(check, value, "", "x", limits={check: limit}) for value in (10.0, 10 + 2 * sign, 10 + 9 * sign)]
    told.append(QCResult(check, FAIL, None, None, "nothing to measure", "x"))
    file = tmp_path / qc_path("rois")
    file.parent.mkdir(parents=True)
    file.write_text(results_to_json(tuple(told)))
    read = read_results(tmp_path, "rois", {check: limit})
    assert [one.verdict for one in read] == [PASS, WARNING, FAIL, FAIL]
    assert [one.threshold for one in read] == [limit.warning, limit.warning, limit.fail, limit.fail]
    assert {one.threshold for one in told[:3]} == {limit.warning}, "what is published does not change with it"


def test_a_check_that_no_limit_decides_stays_as_it_was_judged():
    for check, value in itertools.product(("shapes_agree", "fov_size", "of an older version"), (None, 3, "text")):
        result = QCResult(check, FAIL, value, 2, "", "x")
        assert judged(result, parse_limits({"light_lost": {"warning": 0.2}})) == result


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"light_lots": {"warning": 0.2}}, "light_lots is no check that a limit decides"),
        ({"shapes_agree": {"fail": 1}}, "shapes_agree is no check"),
        ({"light_lost": {"warn": 0.2}}, "give warning, fail or both, not warn"),
        ({"light_lost": {}}, "not nothing"),
        ({"light_lost": {"fail": 0.1}}, "must lie above warning"),
        ({"ends_alike": {"fail": 0.95}}, "must lie below warning"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_by_name(chosen, named, monkeypatch):
    from meso_assets.runs.settings.settings import load_settings
    from meso_core.errors import SettingsError

    with pytest.raises(ValueError, match=named):
        parse_limits(chosen)
    with pytest.raises(SettingsError, match=named):
        load_settings({"qc_limits": chosen})


def test_the_page_shows_all_checks_with_the_limits_of_the_code():
    from pathlib import Path

    from tests.made_docs import checks_table

    page = (Path(__file__).parents[2] / "docs" / "qc.md").read_text()
    assert f"<!-- checks -->\n{checks_table()}\n<!-- /checks -->" in page
