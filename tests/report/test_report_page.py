"""The page of a session: it shows what is there, names what is not, and is the same each time."""

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from large_movies import with_movies
from large_session import report_inputs
from page_figures import explained_figures
from page_reader import Reader, text_of

from meso_core.qc import QCResult, Verdict, in_words, judge, judged, parse_limits
from meso_core.report import MadeResult, make_report
from meso_core.report.page.sections import other_settings
from meso_core.simulate import preset


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return report_inputs(tmp_path_factory.mktemp("report"), n_rois=12, n_frames=700, preset_name="tiny")


@pytest.fixture(scope="module")
def page(inputs):
    return make_report(inputs).html.decode()


def test_equal_inputs_give_an_equal_page(inputs, page):
    assert make_report(inputs).html.decode() == page


def test_the_page_is_well_formed_describes_its_pictures_and_needs_nothing_else(page):
    read = Reader(page)
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))
    assert {link.removeprefix("#") for link in read.links} <= set(read.ids), "each link leads somewhere"
    assert all(read.pictures), "each picture has a text"
    assert all(address.startswith(("#", "data:")) for address in read.addresses), "no request leaves the machine"
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


@pytest.mark.parametrize("field", ["FOV_00", "FOV_01", "FOV_02"])
def test_each_field_has_its_pictures_outlines_and_traces(page, field):
    part = page[page.index(f'id="{field}"') :].partition("</section>")[0]
    assert part.count('<img src="data:image/webp') == 3, "mean, maximum, correlation"
    cells, others = (re.search(rf'<path class="{kind}[^"]*" d="([^"]*)"', part)[1] for kind in ("cells", "others"))
    assert len(cells.split("\n")) + len(others.split("\n")) == 12, "a line for each ROI"
    assert '"uuids"' in part


def test_each_figure_says_how_it_is_read_and_with_which_limit_it_was_judged(inputs, page):
    figures = explained_figures(page)
    assert len(figures) > 20
    told = [line for figure in figures for line in figure.limits]
    assert "No limit: to look at." in told, "the offsets of fields have none"
    assert "– rigid range · look above 40 µm · not judged" in told, "nobody has judged these inputs"
    assert told.count("✓ cells found 9 cells · compared with 1 · good") == 1 + len(inputs.fov_names)


def test_a_figure_is_judged_by_the_limits_of_the_lab_and_names_the_field_that_is_off(inputs):
    limits = parse_limits({"rigid_jump": {"warning": 3.5, "fail": 9.0}, "light_lost": {"warning": 0.5}})
    values = {"FOV_00": 1.25, "FOV_01": 4.5, "FOV_02": 2.0}
    jumps = [judge("rigid_jump", value, "", "x", fov, limits) for fov, value in values.items()]
    noise = [judge("noise_level", value, "", "x", fov, limits) for fov, value in values.items()]
    few = [judge("classifier_share", value / 50, "", "x", fov, limits) for fov, value in values.items()]
    odd = [QCResult("fov_size", Verdict.FAIL, "corners outside the brain", 1.3, "", "x", "FOV_01")]
    verdicts = {"session_qc": [*jumps, *noise, *few, *odd]}
    page = make_report(replace(inputs, limits=limits, verdicts=verdicts)).html.decode()
    told = [line for figure in explained_figures(page) for line in figure.limits]
    assert [line for line in told if "rigid jump" in line] == [
        f"{sign} rigid jump {value} µm · look above 3.5, bad above 9 · {word}"
        for sign, value, word in (("✓", 1.25, "good"), ("▲", 4.5, "look"), ("✓", "2", "good"))
    ]
    assert "✓ noise level 1.25 to 4.5 %/√Hz · look above 8 · good" in told, "of all fields"
    assert "✕ fov size corners outside the brain · compared with 1.3 · bad" in told
    assert "▲ classifier share 0.025 to 0.09 of the ROIs · look below 0.05 · look: FOV_00, FOV_02" in told


def test_what_was_not_measured_is_never_called_good(inputs):
    """Few transients are no fault: the check passes, and tells nothing of how fast they decay."""
    silent = judged(QCResult("decay_mismatch", Verdict.PASS, None, None, "Too few transients.", "x", "FOV_00"))
    assert (silent.verdict, silent.threshold, silent.is_open) == (Verdict.PASS, 1.5, True)
    verdicts = {"session_qc": [silent, judge("decay_mismatch", 0.5, "", "x", "FOV_01")]}
    page = make_report(replace(inputs, verdicts=verdicts)).html.decode()
    told = [line for figure in explained_figures(page) for line in figure.limits if "decay mismatch" in line]
    assert told[:2] == [
        "– decay mismatch not measured · look above 1.5 octaves · not judged",
        "✓ decay mismatch 0.5 octaves · look above 1.5 · good",
    ]
    assert not any("not measured" in line and "good" in line for line in told)
    words = " ".join(text_of(page).split())
    assert "FOV_00: decay mismatch not judged" in words
    assert "FOV_00: decay mismatch good" not in words


def test_a_verdict_is_told_with_all_its_limits_and_their_unit_where_no_value_has_it(inputs):
    limits = parse_limits({"rigid_jump": {"fail": 90.0}})
    verdicts = [
        judge("fov_inside_brain", 0.4, "", "x", "FOV_00"),
        judge("registration_residual", float("nan"), "", "x", "FOV_01"),
        judge("rigid_jump", 30.0, "", "x", "FOV_02", limits),
        QCResult("fov_number_of_areas", Verdict.WARNING, 40, 25, "", "x", "FOV_00"),
        QCResult("counts_per_photon", Verdict.FAIL, 50.0, None, "", "x", "FOV_00"),
    ]
    page = make_report(replace(inputs, limits=limits, verdicts={"session_qc": verdicts})).html.decode()
    part = page[page.index('id="verdicts"') :].partition('id="people"')[0]
    told = [re.sub(r"\s+", " ", text) for text in re.findall(r'<span class="numbers">(.*?)</span>', part)]
    assert told == [
        "0.4 of the pixels · look above 0.02, bad above 0.25",
        "50 counts",
        "– · look above 1 px",
        "30 µm · look above 25, bad above 90",
        "40 areas · compared with 25",
    ]


def test_axes_carry_units(page):
    labels = set(re.findall(r"<text[^>]*>([^<]*)</text>", page))
    for quantity in ("time", "rigid shift", "interval", "offset", "ML", "AP", "noise", "mask"):
        found = [label for label in labels if label.startswith(f"{quantity} ")]
        assert found, quantity
        assert all("(" in label for label in found), found


def without(inputs, *names):
    """Take results away, with all that they give."""
    gone = {
        "imaging_metadata": {"metadata": None},
        "motion_registered_frames": {"planes": {}},
        "mean_image_mlapdv": {"locations": None, "regions": None},
    }
    datasets = {
        "frame_times": ("mpci.times",),
        "rois": ("mpci.ROI", "mpci.bad", "mpciMeanImage.images", "mpciROIs.mpci", "mpciROIs.c", "mpciROIs.u",
                 "mpciROIs.s", "mpciROIs.masks"),
        "mean_image_mlapdv": ("mpciMeanImage.mlapdv", "mpciMeanImage.brain"),
        "roi_brain_locations": ("mpciROIs.mlapdv", "mpciROIs.brain"),
    }  # fmt: skip
    starts = tuple(start for name in names for start in datasets.get(name, ()))
    kept = {fov: {k: v for k, v in of.items() if not k.startswith(starts)} for fov, of in inputs.datasets.items()}
    changes = {key: value for name in names for key, value in gone.get(name, {}).items()}
    if "rois" in names:
        changes["detected"] = {}
    results = [MadeResult(r.name, why_not="was not made") if r.name in names else r for r in inputs.results]
    return replace(inputs, datasets=kept, results=results, **changes)


NAMES = [
    "imaging_metadata",
    "frame_times",
    "motion_registered_frames",
    "rois",
    "mean_image_mlapdv",
    "roi_brain_locations",
]


@pytest.mark.parametrize("missing", NAMES)
def test_what_was_not_made_is_named_and_the_rest_is_shown(inputs, missing):
    page = make_report(without(inputs, missing)).html.decode()
    assert Reader(page).open == []
    assert f"{missing}: was not made." in text_of(page)
    sections = [name for name in ("place", "time", "motion", "cells", "lineage") if f'<section id="{name}"' in page]
    assert len(sections) == 5


@pytest.mark.parametrize("there", NAMES)
def test_one_result_alone_gives_a_page_too(inputs, there):
    others = [name for name in NAMES if name not in (there, "imaging_metadata")]
    page = make_report(without(inputs, *others)).html.decode()
    assert Reader(page).open == []


def test_one_field_and_light_beads_give_a_page_each(tmp_path):
    one = preset("tiny").rois[:1]
    single = report_inputs(tmp_path / "one", n_rois=5, n_frames=300, preset_name="tiny", rois=one)
    assert text_of(make_report(single).html.decode()).count("Two-photon imaging session, 1 field of view") == 1
    beads = {"channels": (1, 2, 3), "channels_are_depths": True, "zs": (100.0,)}
    deep = report_inputs(tmp_path / "beads", n_rois=5, n_frames=300, preset_name="tiny", rois=one, **beads)
    assert len(deep.fov_names) == 3
    page = make_report(deep).html.decode()
    assert "channels are depths" in text_of(page)
    assert Reader(page).open == []


def test_nothing_at_all_gives_a_page_that_says_so(inputs):
    page = make_report(replace(without(inputs, *NAMES), datasets={}, verdicts={}))
    assert "Nothing was judged yet" in text_of(page.html.decode())


def test_a_result_that_is_out_of_date_is_named_with_the_reason(inputs):
    stale = replace(inputs.results[1], stale=("raw_daq has changed (aaaa → bbbb)",))
    page = make_report(replace(inputs, results=[inputs.results[0], stale, *inputs.results[2:]])).html.decode()
    assert "frame_times is out of date: raw_daq has changed (aaaa → bbbb)." in text_of(page)


def test_a_made_up_atlas_is_said_first(inputs, page):
    head = page.partition('<section id="card"')[0]
    assert inputs.locations.phantom
    assert "Phantom atlas" in head


def test_text_of_others_is_escaped(inputs):
    evil = '<script>alert("x")</script>'
    bad = QCResult("cells_found", Verdict.FAIL, evil, evil, evil, "x", "FOV_00")
    stale = replace(inputs.results[0], stale=(evil,), settings={"atlas": evil})
    page = make_report(replace(inputs, verdicts={"rois": [bad]}, results=[stale, *inputs.results[1:]])).html.decode()
    assert evil not in page
    assert page.count("<script") == 1 + page.count('<script type="application/json"')


@pytest.mark.parametrize(
    ("verdicts", "word", "sign"),
    [
        ((Verdict.PASS, Verdict.PASS), "Good: all of 2 verdicts passed", Verdict.PASS),
        ((Verdict.PASS, Verdict.WARNING), "Look: 1 of 2 verdicts asks for a look", Verdict.WARNING),
        (
            (Verdict.FAIL, Verdict.WARNING, Verdict.PASS),
            "Bad: 1 of 3 verdicts failed, 1 more ask for a look",
            Verdict.FAIL,
        ),
    ],
)
def test_the_verdict_in_words_is_the_worst(verdicts, word, sign):
    found = in_words([QCResult("c", verdict, 0, 0, "", "x") for verdict in verdicts])
    assert found == (sign, word)


def test_settings_that_differ_from_the_default_are_told():
    assert other_settings({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 0}) == [("b", 2), ("c", 3)]


def test_templates_hold_no_address():
    folder = Path(make_report.__code__.co_filename).parent / "page" / "templates"
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert {"report.html", "report.css", "report.js", "parts.html"} <= set(texts)
    assert not [name for name, text in texts.items() if re.search(r"https?://", text)]


def test_the_head_of_all_pages_stands_in_one_place():
    folder = Path(make_report.__code__.co_filename).parent / "page" / "templates"
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert [name for name, text in texts.items() if re.search("<(head|title|style|meta)[ >]", text)] == ["head.html"]
    assert {name for name, text in texts.items() if '{% include "head.html" +%}' in text} == {
        "report.html", "index.html", "lineage.html",
    }  # fmt: skip


@pytest.mark.nightly
def test_eight_fields_of_1500_rois_and_their_movies_fit_in_the_limits(tmp_path):
    inputs = with_movies(tmp_path, report_inputs(tmp_path / "large"))
    started = time.process_time()
    report = make_report(inputs)
    took = time.process_time() - started
    assert len(inputs.fov_names) == len(report.movies) == 8
    assert len(report.html) < 30e6
    assert max(map(len, report.movies.values())) < 5e6
    assert took < 40, "seconds of processor: 20 s on two cores, whoever else uses them"
