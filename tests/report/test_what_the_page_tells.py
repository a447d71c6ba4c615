"""What the page tells is what its inputs hold: the card, the map, the cells, what registration left, the lineage."""

import html
import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from large_session import report_inputs

from meso_core.imaging.fovs import plane
from meso_core.report import MadeResult, make_report
from meso_core.report.draw.place import AREA_COLORS


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    made = report_inputs(tmp_path_factory.mktemp("told"), n_rois=30, n_frames=240, preset_name="tiny")
    one = MadeResult("rois", "fedcba9876543210", code_version="17", settings={"genotype": "Ai162", "tau": 1.0},
                     packages={"suite2p": "1.2.3"}, n_files=64, n_bytes=2_500_000)  # fmt: skip
    results = [one if result.name == "rois" else result for result in made.results]
    return replace(made, results=results, default_settings={"genotype": None, "tau": 1.0})


@pytest.fixture(scope="module")
def page(inputs):
    return make_report(inputs).html.decode()


def part(page, anchor):
    return page[page.index(f'<section id="{anchor}"') :].partition("</section>")[0]


def facts(text):
    rows = re.findall(r"<dt>(.*?)</dt><dd>(.*?)(?: <small>(.*?)</small>)?</dd>", text)
    return {name: (html.unescape(value), html.unescape(note)) for name, value, note in rows}


def areas_of(inputs, name):
    """Acronym of each cell's area."""
    values = inputs.datasets[name]
    ids = values["mpciROIs.brainLocationIds_ccf_2017_estimate"][values["mpciROIs.mpciROITypes"] > 0]
    return inputs.regions.acronyms(ids)


def test_the_card_tells_how_the_session_was_recorded(inputs, page):
    told, imaging, bouts = facts(part(page, "card")), inputs.metadata.imaging, inputs.metadata.bouts
    header = imaging.to_dict()["rawScanImageMeta"]["Software"]
    power = float(re.search(r"hBeams\.powers = \[?([\d.]+)", header)[1])
    depths = {depth for fov in imaging.fovs for depth in fov.depths_um}
    assert told["subject"][0] == inputs.session.subject
    assert told["fields of view"] == (str(len(imaging.fovs)), f"at {', '.join(f'{d:g}' for d in sorted(depths))} µm")
    assert told["rate"][0] == f"{imaging.fov_rate_hz:.2f} Hz per field"
    assert told["imaging bouts"][0] == f"2 of {bouts[0].n_frames} + {bouts[1].n_frames} frames"
    lit = sum(bout.frame_times[-1] - bout.frame_times[0] for bout in bouts)
    assert told["duration"][0] == f"{lit:.0f} s"
    assert told["laser power"][0] == f"{power:g} %"
    bad = [plane.load_dict(place / "reg_outputs.npy")["badframes"].mean() for place in inputs.planes.values()]
    assert told["bad frames"] == (f"{100 * np.mean(bad):.1f} %", f"at most {100 * max(bad):.1f} % of a field")


def test_the_map_shows_each_mean_image_in_place_and_each_cell_in_the_colour_of_its_area(inputs, page):
    (drawn,) = re.findall(r"<svg.*?</svg>", part(page, "place"), flags=re.DOTALL)
    assert drawn.count("<image") == 1 + len(inputs.fov_names), "the brain, and a picture of each field"
    counts = Counter(str(area) for name in inputs.fov_names for area in areas_of(inputs, name))
    ordered = sorted(counts, key=lambda area: (-counts[area], area))
    assert len(ordered) > 1
    for area, color in zip(ordered, AREA_COLORS, strict=False):
        dots = len(re.findall(rf"<use [^>]*fill: {color}", drawn))
        assert dots == counts[area] + 1, f"{area}, and its entry in the key"
        assert f"{area} {counts[area]}<" in drawn


@pytest.mark.parametrize("field", ["FOV_00", "FOV_02"])
def test_the_ten_cells_with_the_highest_snr_are_drawn(inputs, page, field):
    text = page[page.index(f'id="{field}"') :].partition("</section>")[0]
    data = json.loads(re.search(r'class="data">(.*?)</script>', text)[1])
    cells = np.array(data["cells"])
    best = cells[np.argsort([-data["snr"][cell] for cell in cells], kind="stable")][:10]
    shown = [int(number) for number in re.findall(r"<text[^>]*>ROI (\d+)</text>", text)]
    assert len(shown) == 10
    np.testing.assert_allclose([data["snr"][roi] for roi in shown], [data["snr"][roi] for roi in best])


def test_the_ends_of_the_worst_component_stand_with_their_shifts(inputs, page):
    for fov in inputs.metadata.imaging.fovs:
        title = f"<h4>{fov.name}: what still moves</h4>"
        figure = page[page.index(title) :].partition("</figure>")[0]
        shifts = plane.load_dict(inputs.planes[fov.name] / "reg_outputs.npy")["regDX"]
        worst = int(shifts[:, 0].argmax())
        rigid, nonrigid = shifts[worst, 0] * fov.um_per_pixel, shifts[worst, 2] * fov.um_per_pixel
        assert f"component {worst + 1}, {rigid:.2f} µm apart rigidly and {nonrigid:.2f} µm at most" in figure
        assert re.findall(r"<small>(\w+) of component (\d+)</small>", figure) == [
            ("bottom", str(worst + 1)),
            ("top", str(worst + 1)),
        ]
        assert figure.count("<img ") == 2


def test_cells_are_counted_by_area_and_by_area_and_layer(inputs, page):
    text, counts = part(page, "cells"), Counter(str(a) for name in inputs.fov_names for a in areas_of(inputs, name))
    by_area, by_layer = (
        dict(re.findall(r"([^ ,]+) (\d+)", re.search(rf'<h4>{title}</h4>.*?aria-label="cells: (.*?)"', text, re.S)[1]))
        for title in ("Cells by area", "Cells by area and layer")
    )
    assert {name: int(n) for name, n in by_area.items()} == counts
    assert sum(map(int, by_layer.values())) == counts.total()
    assert all(any(layer.startswith(area) for area in counts) for layer in by_layer)


def test_lineage_tells_hash_code_settings_that_are_not_the_default_and_packages(page):
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in part(page, "lineage").split("<tr>")]
    assert ["rois", "fedcba987654", "17", "64", "2.5", "genotype = Ai162", "suite2p 1.2.3"] in rows
