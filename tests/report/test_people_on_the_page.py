"""What people said stands on the page and in the index: who, when, why, what is in force, and what was made since."""

import re
from dataclasses import replace

import pytest
from large_session import report_inputs

from meso_core.qc import judge
from meso_core.report import IndexedSession, make_index, make_report
from meso_core.review import PersonVerdict

SEEN = {"rois": "0123456789abcdef", "frame_times": "another"}
PEOPLE = (
    PersonVerdict("reject", "Ada", "bubble <under> the objective", "2023-03-04T09:15:00Z", {}),
    PersonVerdict("accept", "Bob", "", "2023-03-05T10:20:30Z", SEEN),
    PersonVerdict("note", "Cem", "FOV_02 looks tilted", "2023-03-06T11:00:00Z", {}),
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return report_inputs(tmp_path_factory.mktemp("people"), n_rois=2, n_frames=60, preset_name="tiny")


def said_on(page):
    """Texts of the list of what people said, and of the lines below the title."""
    part = page[page.index("What people said") :].partition("</div>")[0]
    rows = re.findall(r"<li.*?</li>", part, re.DOTALL)
    lines = re.findall(r'<p class="overall.*?</p>', page, re.DOTALL)
    plain = [re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)).strip() for text in (*rows, *lines)]
    return plain[: len(rows)], plain[len(rows) :]


def test_the_page_tells_who_said_what_and_when_newest_first_and_which_counts(inputs):
    rows, lines = said_on(make_report(replace(inputs, people=PEOPLE)).html.decode())
    assert [row.split()[1:3] for row in rows] == [["note", "Cem"], ["accepted", "Bob"], ["rejected", "Ada"]]
    assert "2023-03-06 11:00 UTC" in rows[0]
    assert "FOV_02 looks tilted" in rows[0]
    assert ["in force" in row for row in rows] == [False, True, False]
    assert "bubble &lt;under&gt; the objective" in rows[2]
    assert lines[1:] == ["✓ A person has accepted it: Bob, 2023-03-05"]


def test_the_page_names_what_was_made_since_a_person_accepted(inputs):
    (_, accepted, _), _ = said_on(make_report(replace(inputs, people=PEOPLE)).html.decode())
    others = [one.name for one in inputs.results if one.name != "rois"]
    assert f"Made since, and not seen then: {', '.join(others)}." in accepted


def test_a_page_on_which_nobody_spoke_says_so_and_has_one_line_below_its_title(inputs):
    page = make_report(inputs).html.decode()
    assert "Nobody had accepted or rejected the session" in page
    assert len(re.findall(r'<p class="overall', page)) == 1


def under_headings(page):
    """Heading → what stands under it on the card."""
    card = page[page.index('<section id="card">') :].partition("</section>")[0]
    _, *parts = re.split(r"<h3>(.*?)</h3>", card)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_verdicts_stand_under_a_heading_of_their_own_to_which_links_lead_and_not_under_that_of_people(inputs):
    verdicts = {"session_qc": [judge("rigid_jump", um, "", "x", fov) for um, fov in ((30.5, "FOV_01"), (1, "FOV_00"))]}
    page = make_report(replace(inputs, people=PEOPLE, verdicts=verdicts)).html.decode()
    found = under_headings(page)
    assert list(found) == ["Verdicts that ask for a look", "What people said"]
    of_machines, of_people = found.values()
    assert [name in of_machines for name in ("FOV_01: rigid jump", "FOV_00", "Bob")] == [True, False, False]
    assert [name in of_people for name in ("rigid jump", "Bob")] == [False, True]
    for anchor in ("verdicts", "people"):
        assert f'href="#{anchor}"' in page
        assert page.count(f'id="{anchor}"') == 1


def test_where_no_verdict_asks_for_a_look_the_heading_says_so(inputs):
    passed = under_headings(make_report(inputs).html.decode())
    assert "None. Good: all of 3 verdicts passed." in passed["Verdicts that ask for a look"]
    nothing = under_headings(make_report(replace(inputs, verdicts={})).html.decode())
    assert "None. Nothing was judged yet." in nothing["Verdicts that ask for a look"]


def test_the_index_has_a_column_that_sorts_by_what_people_said():
    sessions = [
        IndexedSession(f"SP{n}/2023-01-01/001", why="x", person=one) for n, one in enumerate((*PEOPLE[:2], None))
    ]
    page = make_index(sessions).decode()
    assert re.search(r'<th scope="col" aria-sort="none"><button type="button">person</button>', page)
    assert sorted(re.findall(r'<td class="said \w+" data-value="(.*?)">', page)) == ["", "0", "1"]
    assert "bubble &lt;under&gt; the objective" in page
