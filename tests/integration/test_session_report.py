"""The report of a processed session: its numbers are those of the published files, and it is made where others fail."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np

from meso_assets.defs.reporting import REPORT_FILE, SUMMARY_FILE
from meso_core.qc import CHECKS
from tests.integration.conftest import loaded_meso
from tests.report.page_figures import explained_figures


def text_of(page):
    body = re.sub(r"<(script|style|svg).*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_the_page_tells_what_was_published(finished):
    session = finished.session.path
    page = (session / REPORT_FILE).read_text(encoding="utf-8")
    text, line = text_of(page), json.loads((session / SUMMARY_FILE).read_text())
    types = {f.name: np.load(f / "mpciROIs.mpciROITypes.npy") for f in sorted((session / "alf").glob("FOV_*"))}
    n_cells, n_rois = (sum(int(count(t)) for t in types.values()) for count in (np.count_nonzero, len))
    assert (line["n_fovs"], line["n_cells"], line["n_rois"]) == (len(types), n_cells, n_rois)
    assert f"cells {n_cells} of {n_rois} ROIs" in text
    for name, of_fov in types.items():
        part = page[page.index(f'id="{name}"') :].partition("</section>")[0]
        assert f"{np.count_nonzero(of_fov)} of {len(of_fov)} ROIs" in text_of(part)
        for uuid in (session / "alf" / name / "mpciROIs.uuids.csv").read_text().split()[1:]:
            assert uuid in part
    verdicts = [v for file in (session / "reports" / "qc").glob("*.json") for v in json.loads(file.read_text())]
    told = sum(line["verdicts"].values())
    assert 0 < told <= len(verdicts), "all but those on what the report does not read"
    assert "Phantom atlas" in text
    for asset in ("frame_times", "motion_registered_frames", "rois"):
        assert finished.session.manifest(asset).data_version[:12] in text


def test_each_figure_says_how_it_is_read_and_each_number_with_a_limit_stands_at_one(finished):
    session = finished.session.path
    figures = explained_figures((session / REPORT_FILE).read_text(encoding="utf-8"))
    told = [line for figure in figures for line in figure.limits]
    assert len(figures) > 25, "of the session, and of each of three fields"
    verdicts = [v for file in (session / "reports" / "qc").glob("*.json") for v in json.loads(file.read_text())]
    known = [(v, CHECKS[v["check"]]) for v in verdicts if v["value"] is not None]
    limited = [v for v, check in known if check.limit and check.figure != "lineage"]
    assert len({v["check"] for v in limited}) > 15
    for one in limited:
        name = one["check"].replace("_", " ")
        lines = [line for line in told if f" {name} " in line]
        assert any(f"{one['threshold']:g}" in line.rpartition(" · ")[0] for line in lines), one["check"]
        word = {"PASS": "good", "WARNING": "look", "FAIL": "bad"}[one["verdict"]]
        assert any(f"· {word}" in line for line in lines) or one["verdict"] == "PASS", one


def test_a_session_whose_daq_is_missing_gets_its_report_all_the_same_and_stands_in_the_index(finished, tmp_path):
    places = {"root": tmp_path / "sessions", "home": tmp_path / "home"}
    settings = finished.settings.model_copy(update={**places, "executor": "in_process"})
    shutil.copytree(finished.settings.local_root, settings.local_root, symlinks=True)
    there = settings.local_root / finished.session.path.relative_to(finished.settings.local_root)
    shutil.rmtree(there / "raw_sync_data")
    for asset in ("frame_times", "session_report"):
        for file in finished.session.manifest(asset).files:
            (there / file.path).unlink()
        (there / ".meso" / "manifests" / f"{asset}.json").unlink()
    ran = loaded_meso(settings, "run", str(finished.key), "--assets", "frame_times,session_report")
    assert ran.returncode == 1
    assert re.search(r"frame_times +failed", ran.stdout)
    assert re.search(r"session_report +made", ran.stdout)
    text = text_of((there / REPORT_FILE).read_text(encoding="utf-8"))
    assert "frame_times: was not made." in text
    assert "Times are counted from the frame rate" in text
    index = loaded_meso(settings, "report", "--index")
    assert index.returncode == 0, index.stderr
    page = (settings.local_root / "session_reports.html").read_text(encoding="utf-8")
    address = (there / REPORT_FILE).relative_to(settings.local_root).as_posix()
    assert f'href="{address}"' in page


def test_the_picture_of_a_small_lab_in_the_docs_is_made_of_a_real_session(finished):
    """``make pictures`` takes it from the demo, which lies in a folder as this session does."""
    file = Path(__file__).parents[2] / "docs" / "pictures.py"
    spec = importlib.util.spec_from_file_location("pictures_of_docs", file)
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    page = pictures.overview_of_a_lab(finished.settings.root.parent)
    assert page.count("SP040/2023-03-03/001") > 0
    for state in ("found 597", "45 %", "raw_daq: 1 changed"):
        assert state in page
