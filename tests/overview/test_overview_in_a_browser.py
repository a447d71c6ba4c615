"""The overview in a real Chromium, as a file: there at once, filtered, explained by a click, and nothing of it runs."""

import re

import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.overview.page import html_page
from meso_assets.overview.record import Overview
from meso_assets.runs.status.cells import AssetStatus, SessionCells, State
from meso_core.session import PassedOver
from tests.browsers import opened_browser

NASTY = "</script><img src=x onerror='document.title=1'>"
#: To be ready for a person; the page says so itself. The limit of the issue, with room for a machine that has others.
READY_MS = 3000


def session(n):
    key = f"SP{n % 20:03d}/2023-{1 + n % 12:02d}-{1 + n % 28:02d}/{n // 20:03d}"
    state = {0: State.FAILED, 1: State.STALE, 2: State.MISSING}.get(n % 10, State.DONE)
    why = f"{NASTY} because of {n}" if n % 10 < 2 else ""
    made = AssetStatus("", State.DONE, "", "2026-03-01T10:00:00+00:00", 4, 1234567, run_id=f"run{n}")
    cells = {name: made for name in CATALOGUE}
    cells["rois"] = AssetStatus("rois", state, why, verdict="WARNING" if n % 3 else "", attempt_run_id="tried")
    return SessionCells(key, tuple(cells.values()), (), "still to come" if n % 10 == 2 else "", key, 10**9)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """The page of a thousand sessions; errors of its script fail the test that sees them."""
    file = tmp_path_factory.mktemp("home") / "overview.html"
    sessions = tuple(sorted((session(n) for n in range(1000)), key=lambda one: one.session))
    passed = (PassedOver(NASTY, f"no date {NASTY}"),)
    file.write_text(
        html_page(Overview("/data/Subjects", "2026-03-01T10:00:00+00:00", sessions, passed, "http://lab:3000"))
    )
    opened, errors = browser.new_page(), []
    opened.set_default_timeout(10_000)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: errors.append(request.url) if request.url != file.as_uri() else None)
    opened.goto(file.as_uri())
    opened.wait_for_selector("html[data-ready]", state="attached")
    yield opened
    assert errors == [], "no error, and nothing was asked of anybody"


@pytest.fixture
def fresh(page):
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Show all").click()
    return page


def n_shown(page):
    return int(page.get_by_role("status").inner_text().split()[0])


def test_a_thousand_sessions_are_there_at_once(page):
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive") < READY_MS
    assert n_shown(page) == 1000
    n_rows = page.locator("tbody tr").count()
    assert 0 < n_rows < 300, "rows are made when they come into view"
    page.locator("tbody tr").last.scroll_into_view_if_needed()
    page.locator("tbody tr").nth(n_rows).wait_for(state="attached")


def columns(page):
    return [th.inner_text().replace(" ", "_") for th in page.locator("tr.names th").all()][1:]


def test_each_group_of_assets_stands_once_above_all_of_its_assets(page):
    groups = [th.inner_text() for th in page.locator("tr.groups th.first").all()]
    assert groups == list(dict.fromkeys(declared.group for declared in CATALOGUE.values()))
    assert sorted(columns(page)) == sorted(CATALOGUE)


@pytest.mark.parametrize("width", [1280, 1400])
def test_all_columns_are_in_a_window_of_a_laptop(fresh, width):
    """Dates, sizes, long states and the warning of a verdict among them."""
    fresh.set_viewport_size({"width": width, "height": 900})
    overhang = fresh.locator(".table").evaluate("box => box.scrollWidth - box.clientWidth")
    fresh.set_viewport_size({"width": 1500, "height": 1100})
    assert overhang <= 0


def test_a_cell_stands_in_the_column_of_its_asset(fresh):
    for at, asset in enumerate(columns(fresh), 2):
        hint = fresh.locator(f"tbody tr:first-child td:nth-child({at}) button").get_attribute("title")
        assert hint.startswith(f"{asset}: ")
    at = columns(fresh).index("rois") + 2
    fresh.get_by_label("State", exact=True).select_option("failed")
    assert "✕ failed" in fresh.locator(f"tbody tr:first-child td:nth-child({at})").inner_text()


def test_each_asset_stands_under_the_name_of_its_group(page):
    middles = [box["x"] + box["width"] / 2 for box in (th.bounding_box() for th in page.locator("tr.names th").all())]
    groups = [(th.inner_text(), th.bounding_box()) for th in page.locator("tr.groups th.first").all()]
    above = [next(name for name, box in groups if box["x"] <= at <= box["x"] + box["width"]) for at in middles[1:]]
    assert above == [CATALOGUE[name].group for name in columns(page)]


def test_names_and_reasons_are_shown_as_they_are_and_nothing_of_them_runs(fresh):
    assert fresh.get_by_text(NASTY, exact=True).count() == 1
    fresh.get_by_role("button", name=re.compile("^rois: failed")).first.click()
    assert NASTY in fresh.get_by_role("complementary").inner_text()
    fresh.keyboard.press("Escape")
    assert fresh.get_by_role("complementary").count() == 0
    assert fresh.title() == "meso: overview of sessions"


def test_filters_by_subject_state_asset_and_date_leave_what_was_asked_for(fresh):
    everything = [session(n) for n in range(1000)]
    fresh.get_by_label("Session", exact=True).fill("sp007")
    assert n_shown(fresh) == sum(one.session.startswith("SP007") for one in everything) == 50
    fresh.get_by_label("Session", exact=True).fill("")
    fresh.get_by_label("State", exact=True).select_option("failed")
    assert n_shown(fresh) == 100
    fresh.get_by_label("Asset", exact=True).select_option("frame_times")
    assert n_shown(fresh) == 0, "none of these failed"
    fresh.get_by_label("Asset", exact=True).select_option("rois")
    assert n_shown(fresh) == 100
    fresh.get_by_label("From", exact=True).fill("2023-06-15")
    fresh.get_by_label("To", exact=True).fill("2023-07-31")
    days = [
        one.session.split("/")[1] for one in everything if one.cells[[*CATALOGUE].index("rois")].state is State.FAILED
    ]
    assert n_shown(fresh) == sum("2023-06-15" <= day <= "2023-07-31" for day in days) > 0
    address = fresh.evaluate("location.hash")
    assert "state=failed" in address
    assert "from=2023-06-15" in address


def test_a_click_on_a_count_shows_these_sessions_and_another_all(fresh):
    fresh.get_by_role("button", name=re.compile("100 missing")).click()
    assert n_shown(fresh) == 100
    fresh.get_by_role("button", name=re.compile("100 missing")).click()
    assert n_shown(fresh) == 1000
    fresh.get_by_role("button", name=re.compile("not ready")).click()
    assert n_shown(fresh) == 100


def test_runs_are_links_to_the_interface_that_ran_last(fresh):
    fresh.get_by_role("button", name=re.compile("^frame_times: done|^: done")).first.click()
    links = fresh.get_by_role("complementary").get_by_role("link")
    assert links.first.get_attribute("href").startswith("http://lab:3000/runs/run")


def test_a_session_and_each_of_its_results_lead_to_its_lineage(fresh):
    fresh.get_by_label("Session", exact=True).fill("SP007/2023-08-08/000")
    fresh.locator("td.session button").first.click()
    panel, address = fresh.get_by_role("complementary"), "http://lab:3000/meso/lineage/SP007/2023-08-08/000"
    assert panel.get_by_role("link", name="which run made each").get_attribute("href") == address
    fresh.get_by_role("button", name=re.compile("^frame_qc: done")).first.click()
    assert panel.get_by_role("link", name="of what and with").get_attribute("href") == f"{address}#frame_qc"


def test_states_are_told_apart_without_colour(fresh):
    for state, word in {"done": "✓ done", "failed": "✕ failed", "stale": "↻ stale", "missing": "–"}.items():
        fresh.get_by_label("State", exact=True).select_option(state)
        assert fresh.locator(f"td.{state} .word").first.inner_text() == word


def test_all_rows_that_are_asked_for_are_printed_and_no_controls(fresh):
    fresh.get_by_label("State", exact=True).select_option("failed")
    fresh.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert fresh.locator("tbody tr").count() == 100
    fresh.emulate_media(media="print")
    assert not fresh.locator(".filters").is_visible()
    assert fresh.locator("tbody tr").last.is_visible()
    fresh.emulate_media(media="screen")


@pytest.mark.parametrize("width", [390, 800, 1900])
def test_nothing_but_the_table_is_wider_than_the_window(fresh, width):
    fresh.set_viewport_size({"width": width, "height": 900})
    assert fresh.evaluate("document.documentElement.scrollWidth") <= width
    fresh.get_by_role("button", name=re.compile("^rois: failed")).first.click()
    box = fresh.get_by_role("complementary").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    fresh.keyboard.press("Escape")
    fresh.set_viewport_size({"width": 1500, "height": 1100})
