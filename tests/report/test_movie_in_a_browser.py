"""The movie beside a page in a real Chromium: fetched when it is asked for, played, and a picture on paper."""

import movie_session
import pytest

from meso_core.report import make_report
from tests.browsers import opened_browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("movie")
    report = make_report(movie_session.report_inputs(made / "session"))
    (made / "session_movies").mkdir()
    (made / "session_report.html").write_bytes(report.html)
    for path, content in report.movies.items():
        (made / path).write_bytes(content)
    return made


def test_a_movie_is_fetched_when_it_is_played_and_by_the_keyboard_too(folder, tmp_path):
    asked, faults = [], []
    with opened_browser(tmp_path / "profile") as browser:
        page = browser.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda one: None if one.url.startswith("data:") else asked.append(one.url))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        for width in (1400, 800):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto((folder / "session_report.html").as_uri())
            movies = page.locator("video")
            assert movies.count() == 3
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert movies.evaluate_all("all => all.every(one => one.getAttribute('aria-label') && one.poster)")
            assert not page.locator(".still").first.is_visible()
            assert asked == [page.url], "the page alone"
            movies.nth(1).scroll_into_view_if_needed()
            movies.nth(1).focus()
            page.keyboard.press("Space")
            page.wait_for_function("document.querySelectorAll('video')[1].currentTime > 0.2")
            shown = movies.nth(1).evaluate("one => [one.videoWidth, one.videoHeight, one.duration]")
            assert shown == [2 * 96 + 4, 64, 10]
            assert {url.rpartition("/")[2] for url in asked[1:]} == {"FOV_01.webm"}
            asked.clear()
        page.emulate_media(media="print")
        assert not movies.first.is_visible(), "which Chromium leaves blank on paper"
        assert page.locator(".still").first.is_visible()
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    assert faults == []
