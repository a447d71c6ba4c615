"""Report and index in a real Chromium: no error, no request, keyboard and mouse work, wide, narrow and on paper."""

import json
import re
from dataclasses import replace

import pytest
from large_session import report_inputs
from test_report_index import line

from meso_core.report import make_index, make_report
from meso_core.review import PersonVerdict
from tests.browsers import opened_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def watched(browser, tmp_path):
    """Open a page of these bytes; errors of its script and requests fail the test."""
    faults, pages = [], []

    def opened(content):
        file = tmp_path / "page.html"
        file.write_bytes(content)
        page = browser.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else faults.append(asked.url))
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert faults == []


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return report_inputs(tmp_path_factory.mktemp("report"), n_rois=14, n_frames=600, preset_name="tiny")


@pytest.fixture(scope="module")
def content(inputs):
    return make_report(inputs).html


def middle_of(field, k):
    """Place of the middle of the k-th cell on the picture of a field, px of the screen from its corner."""
    return field.evaluate(
        """(field, k) => {
            const cells = field.querySelector(".cells"), box = field.querySelector(".stage").getBoundingClientRect();
            const numbers = cells.getAttribute("d").split("\\n").at(k).split("z")[0].match(/-?\\d+/g).map(Number);
            let x = 0, y = 0, sum = [0, 0], n = 0;
            for (let i = 0; i + 1 < numbers.length; i += 2, n++) {
                x += numbers[i]; y += numbers[i + 1]; sum[0] += x; sum[1] += y;
            }
            const view = field.querySelector(".stage svg").viewBox.baseVal;
            return [sum[0] / n / view.width * box.width, sum[1] / n / view.height * box.height];
        }""",
        k,
    )


#: Numbers of figures that share space on the screen, and what of a figure lies outside of it.
MISPLACED = """() => {
  const found = [], figures = [...document.querySelectorAll("figure")].filter(one => one.getClientRects().length);
  const boxes = figures.map(one => one.getBoundingClientRect());
  figures.forEach((figure, i) => {
    const scrolls = [...figure.children].some(one => getComputedStyle(one).overflowX === "auto");
    for (const part of figure.querySelectorAll("svg.plot, img, video, canvas, p, li")) {
      const box = part.getBoundingClientRect();
      const sticks_out = box.left < boxes[i].left - 1 || box.right > boxes[i].right + 1;
      if (box.width && sticks_out && !scrolls) found.push(part.outerHTML.slice(0, 80));
    }
    boxes.slice(i + 1).forEach((other, k) => {
      const across = Math.min(boxes[i].right, other.right) - Math.max(boxes[i].left, other.left);
      const down = Math.min(boxes[i].bottom, other.bottom) - Math.max(boxes[i].top, other.top);
      if (across > 1 && down > 1) found.push([i, i + 1 + k]);
    });
  });
  return figures.length > 10 ? found : "too few figures";
}"""


@pytest.mark.parametrize("width", [1400, 800, 390])
def test_nothing_sticks_out_to_the_side_and_no_figure_lies_on_another(watched, content, width):
    page = watched(content)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate(MISPLACED) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("h1").is_visible()
    pictures = page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert pictures, "each picture can be read"


def test_the_pictures_of_a_field_and_its_rois_are_switched_and_walked_by_keys(watched, content):
    page = watched(content)
    field = page.locator("#FOV_00")
    field.scroll_into_view_if_needed()
    field.get_by_label("maximum").check()
    shown = field.locator(".stage img").evaluate_all("images => images.map(image => !image.hidden)")
    assert shown == [False, True, False]
    assert not field.locator(".others").is_visible(), "rejects are hidden until they are asked for"
    field.get_by_label("other ROIs").check()
    assert field.locator(".others").is_visible()
    field.get_by_label("other ROIs").uncheck()
    walked = []
    field.locator(".stage").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        walked.append(field.locator(".traces h4").inner_text())
        assert walked[-1] in field.locator(".told").inner_text()
        assert field.locator(".lit").get_attribute("d")
    assert len(set(walked)) == 3
    assert re.search(r"SNR .* noise .* %/√Hz", field.locator(".told").inner_text())


def test_an_roi_under_the_mouse_is_told_and_its_traces_are_drawn_when_it_is_clicked(watched, content):
    page = watched(content)
    field = page.locator("#FOV_01")
    field.scroll_into_view_if_needed()
    field.locator(".traces").wait_for()  # the best cell is shown at first
    at = middle_of(field, -1)
    field.locator(".stage").click(position={"x": at[0], "y": at[1]})
    name = field.locator(".traces h4").inner_text()
    assert field.locator(".told").inner_text().startswith(f"{name} · cell")
    drawn = field.locator("canvas").evaluate(
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(value => value)"
    )
    assert drawn


def test_pointing_at_an_roi_tells_what_it_is_and_moving_away_takes_it_off_again(watched, content, inputs):
    page, values = watched(content), inputs.datasets["FOV_02"]
    field = page.locator("#FOV_02")
    field.scroll_into_view_if_needed()
    field.locator(".traces").wait_for()  # the best cell is chosen at first
    stage, told, lit = field.locator(".stage"), field.locator(".told"), field.locator(".lit")
    before, outline = told.inner_text(), lit.get_attribute("d")
    regions = inputs.regions.acronyms(values["mpciROIs.brainLocationIds_ccf_2017_estimate"])
    measured, pointed = json.loads(field.locator("script.data").text_content())["snr"], set()
    for k in range(int(values["mpciROIs.mpciROITypes"].sum())):
        x, y = middle_of(field, k)
        stage.hover(position={"x": x, "y": y})
        number = int(re.match(r"ROI (\d+) · cell", told.inner_text())[1])  # where two overlap, the smaller one
        parts = told.inner_text().split(" · ")
        assert parts[2] == regions[number]
        classifier = float(parts[3].removeprefix("classifier "))
        assert classifier == pytest.approx(values["mpciROIs.cellClassifier"][number], abs=0.006)
        assert float(parts[4].removeprefix("SNR ")) == pytest.approx(measured[number], abs=0.06)
        assert parts[-1] == values["mpciROIs.uuids"][number]
        pointed.add((number, lit.get_attribute("d")))
        page.mouse.move(2, 2)
        assert (told.inner_text(), lit.get_attribute("d")) == (before, outline), "what was chosen, again"
    assert len(pointed) > 2, "several cells, each with an outline of its own"
    assert len({outline for _, outline in pointed}) == len(pointed)


def test_it_prints_on_a4(watched, content):
    page = watched(content)
    pdf = page.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    assert 3 < len(re.findall(rb"/Type\s*/Page\b", pdf)) < 40
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.locator(".controls").first.is_visible()
    assert page.locator(".overall").is_visible()


def test_a_thousand_sessions_sort_and_filter_in_no_time(watched):
    levels = ("PASS", "WARNING", "FAIL")
    sessions = [line(n, levels[n % 3]) for n in range(1000)]
    for at, says in ((70, "accept"), (900, "reject")):
        said = PersonVerdict(says, "Ada", "seen", "2023-03-04T09:15:00Z", {})
        sessions[at] = replace(sessions[at], person=said)
    page = watched(make_index(sessions))
    head = page.get_by_role("button", name="cells")
    head.click()
    cells = page.evaluate("[...document.querySelectorAll('tbody tr')].map(row => +row.cells[5].dataset.value)")
    assert cells == sorted(cells)
    took = page.evaluate(
        "() => { const start = performance.now(); [...document.querySelectorAll('thead button')][5].click(); "
        "document.body.offsetHeight; return performance.now() - start; }"
    )
    cells = page.evaluate("[...document.querySelectorAll('tbody tr')].map(row => +row.cells[5].dataset.value)")
    assert cells == sorted(cells, reverse=True)
    assert took < 2000
    page.get_by_role("button", name="person").click()
    said = page.evaluate("[...document.querySelectorAll('tbody tr')].map(row => row.cells[2].dataset.value)")
    assert said == ["0", "1", *[""] * 998], "rejected ones first, those of which nobody has spoken last"
    page.get_by_placeholder("subject").fill("sp008 bad")
    shown = page.locator("tbody tr:not([hidden])")
    assert 0 < shown.count() < 40
    assert page.locator("#shown").inner_text() == f"{shown.count()} of 1000"
