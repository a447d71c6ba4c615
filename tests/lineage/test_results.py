"""What each result was made of and with, then and now; and when a session was last audited."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from meso_core.lineage import (
    EARLIER_VERDICTS,
    LAST_VERDICT,
    UsedInput,
    UsedPackage,
    UsedSetting,
    keep_verdict,
    last_audit,
    results_of,
)
from meso_core.storage import package_versions, standing
from tests.lineage.recorded import ASSETS, Recorded
from tests.present_files import files_in


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def recorded(tmp_path) -> Recorded:
    return Recorded(tmp_path / "root")


def results(recorded, defaults=None):
    made = recorded.manifests()
    standings = {name: standing(files_in(recorded.path), made.get(name), recorded.basis(name)) for name in ASSETS}
    return {one.asset: one for one in results_of(standings, defaults or {})}


def test_a_result_is_told_with_its_inputs_then_and_now(recorded):
    recorded.make_all("first")
    before = recorded.manifests()["metadata"].data_version
    found = results(recorded)
    assert [one.reasons for one in found.values()] == [(), (), ()]
    assert all(one.is_same for result in found.values() for one in result.inputs)
    now = recorded.make("metadata", "second").data_version
    movies = results(recorded)["movies"]
    assert movies.inputs == (UsedInput("raw_frames", "f" * 64, "f" * 64), UsedInput("metadata", before, now))
    assert [one.is_same for one in movies.inputs] == [True, False]
    assert movies.reasons == (f"metadata has changed ({before[:8]} → {now[:8]})",)


def test_one_that_was_not_made_tells_what_it_would_be_made_of(recorded):
    version = recorded.make("metadata").data_version
    cells = results(recorded)["cells"]
    assert (cells.manifest, cells.reasons) == (None, ("not made yet",))
    assert cells.inputs == (UsedInput("metadata", "", version),), "there are no movies yet"
    assert "published_at" not in cells.as_record()


def test_an_input_that_is_not_there_any_more_has_no_version_now(recorded):
    recorded.make_all()
    recorded.record("movies").unlink()
    gone = results(recorded)["cells"].inputs[-1]
    assert (gone.name, gone.now, gone.is_same) == ("movies", "", False)


def test_settings_that_are_not_the_default_options_and_packages_that_are_others_are_told(recorded):
    recorded.make_all()

    def otherwise(made):
        settings = {"tau": 1.5, "same": [1, 2], "own": {"b": 2, "a": None}}
        by = replace(made.made_by, packages={"numpy": "0.9", "meso_gone": "1"}, options={"suite2p": {"tau": 2}})
        basis = replace(made.basis, settings=settings, packages={"numpy": "0.9"})
        return replace(made, basis=basis, made_by=by)

    recorded.edit("cells", otherwise)
    cells = results(recorded, {"cells": {"tau": 1.0, "same": [1, 2]}})["cells"]
    assert cells.settings == (UsedSetting("own", '{"a": null, "b": 2}', ""), UsedSetting("tau", "1.5", "1.0"))
    assert cells.options == {"suite2p": '{"tau": 2}'}
    numpy = package_versions(("numpy",))["numpy"]
    assert cells.packages == (
        UsedPackage("meso_gone", "1", "", decides=False),
        UsedPackage("numpy", "0.9", numpy, decides=True),
    )
    record = json.loads(json.dumps(cells.as_record()))
    assert record["settings"][1] == {"name": "tau", "value": "1.5", "default": "1.0"}
    assert record["made_by"]["host"] == "rig"


def test_the_last_audit_is_that_which_found_the_same_again(recorded):
    recorded.make_all()
    assert last_audit(recorded.path) is None
    first = replace(recorded.audit(), audited_at="2026-01-01T03:00:00+00:00")
    assert keep_verdict(recorded.path, first)
    assert not keep_verdict(recorded.path, replace(first, audited_at="2026-01-02T03:00:00+00:00"))
    found = last_audit(recorded.path)
    assert (found.verdict.audited_at, found.at) == (first.audited_at, "2026-01-02T03:00:00+00:00")
    assert [line.audited_at[8:10] for line in found.history] == ["02", "01"]
    assert [line.n_faults for line in found.history] == [0, 0]


def test_a_history_that_the_power_cut_short_or_that_is_gone_is_read_as_far_as_it_goes(recorded):
    recorded.make_all()
    verdict = recorded.audit()
    keep_verdict(recorded.path, verdict)
    with (recorded.path / EARLIER_VERDICTS).open("ab") as file:
        file.write(b'\0\0\0\n[]\n{"audited_at": 3}\n{"audited_at": "2027')
    found = last_audit(recorded.path)
    assert [line.audited_at for line in found.history] == [verdict.audited_at]
    (recorded.path / EARLIER_VERDICTS).unlink()
    assert last_audit(recorded.path).at == verdict.audited_at
    assert (recorded.path / LAST_VERDICT).exists()
