"""Whoever asks for a session is told where its report is: in the interface, by `meso status`, by the demo."""

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.cli.status import _reports, _state_and_why
from meso_assets.defs.reporting import REPORT_FILE
from meso_assets.overview.links import report_link
from meso_assets.runs.settings.settings import load_settings
from meso_assets.runs.status.cells import AssetStatus, State
from meso_core.session import SessionKey

KEY = SessionKey("SP035", "2023-03-03", "001")


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "Subjects" / str(KEY)).mkdir(parents=True)
    return load_settings({"root": tmp_path / "Subjects", "home": tmp_path / "home"})


def test_a_result_leads_to_the_report_of_its_session():
    (link,) = report_link("my lab/Subjects/SP035/2023-03-03/001").values()
    assert link.value == f"meso/overview/files/my%20lab/Subjects/SP035/2023-03-03/001/-/{REPORT_FILE}"


def cells(session, *shown):
    return SimpleNamespace(key=str(session), cells=[SimpleNamespace(shown=()), SimpleNamespace(shown=shown)])


def test_status_names_the_reports_that_are_there_where_few_sessions_are_asked_for(settings):
    store = settings.store()
    other = SessionKey("SP036", "2023-03-03", "001")
    (told,) = _reports([cells(KEY, "reports/figures/a.png", REPORT_FILE), cells(other)], store)
    assert told == f"report: {settings.local_root}/{KEY}/{REPORT_FILE}\n"
    assert _reports([cells(KEY, REPORT_FILE)] * 21, store) == []
    assert _reports([cells(other)], store) == []


@pytest.mark.parametrize("place", ["labA/Subjects/SP037/2023-03-03/001", "Subjects/SP038/2023-03-03/1"])
def test_status_names_the_report_in_the_folder_of_its_session_however_that_is_called(settings, place):
    (settings.local_root / place).mkdir(parents=True)
    (told,) = _reports([cells(SessionKey.parse(place), REPORT_FILE)], settings.store())
    assert told == f"report: {settings.local_root}/{place}/{REPORT_FILE}\n"


@pytest.mark.parametrize("why", ["interrupted: somebody stopped the run", "interrupted at 18:31 in rois"])
def test_a_reason_that_begins_with_the_state_is_told_with_it_once(why):
    assert _state_and_why(AssetStatus("rois", State.INTERRUPTED, why)) == why
    assert _state_and_why(AssetStatus("rois", State.FAILED, why)) == f"failed: {why}"


def test_the_demo_ends_by_naming_the_report_and_the_overview(settings, tmp_path, monkeypatch):
    made = SimpleNamespace(key=KEY, kept=True, truth_path=tmp_path / "truth")
    monkeypatch.setattr("meso_assets.cli.demo.demo_settings", lambda folder: settings)
    monkeypatch.setattr("meso_assets.cli.demo.simulate_demo", lambda settings, say: made)
    monkeypatch.setattr("meso_assets.cli.demo.made_table", lambda session, summary: "")
    monkeypatch.setattr("meso_assets.runs.run.run_session", lambda settings, key: SimpleNamespace(success=True))
    told = CliRunner().invoke(group, ["demo", "--folder", str(tmp_path)])
    assert told.exit_code == 0, told.output
    last = told.output.splitlines()[-5:]
    assert any(line.startswith(f"report    {settings.local_root}/{KEY}/{REPORT_FILE}") for line in last)
    assert f"overview  {tmp_path}/home/overview.html" in last
    assert (tmp_path / "home" / "overview.html").is_file(), "it is there when it is named"
