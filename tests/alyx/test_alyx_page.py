"""The page ``docs/alyx.md``: what it shows works, from a simulated session to records."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from meso_core.alyx import register_fov, update_surgery_json
from meso_core.location import LOCATIONS_FILE, LocationSettings, load_atlas, locate_fovs, locations_to_json
from meso_core.scanimage import load_meta_files

PAGE = Path(__file__).parents[2] / "docs" / "alyx.md"


@pytest.fixture(scope="module")
def located(tiny_session, tmp_path_factory):
    """The simulated session located in the phantom; ``fovs.locations.json`` lies apart from it."""
    cache = tmp_path_factory.mktemp("cache")
    settings = LocationSettings(atlas="phantom", resolution_um=50, cache_folder=cache)
    meta, _ = load_meta_files(tiny_session.session_path)
    projection = locate_fovs(meta, load_atlas(settings), settings=settings)
    alf = tmp_path_factory.mktemp("alf")
    (alf / LOCATIONS_FILE).write_text(locations_to_json(projection.locations))
    return meta, projection, alf


def test_the_dry_run_of_the_page_makes_the_records(located, tiny_session):
    _, _, alf = located
    (code,) = re.findall(r"## From Python\n\n```python\n(.*?)\nalyx = ", PAGE.read_text(), re.DOTALL)
    code = code.replace("/data/Subjects/SP035/2023-03-03/001", str(tiny_session.session_path))
    code = code.replace('session / "alf" / "fovs.locations.json"', f"Path({str(alf / 'fovs.locations.json')!r})")
    names = {}
    exec(code, names)
    shown = json.loads(names["records"].to_json())
    assert [fov["name"] for fov in shown["fields_of_view"]] == ["FOV_00", "FOV_01", "FOV_02"]
    assert shown["is_phantom"]


def test_records_hold_the_corners_and_regions_of_the_mean_image(located, tiny_session):
    meta, projection, _ = located
    records = register_fov(meta, projection.locations, session=tiny_session.key)
    for i, record in enumerate(records.locations):
        image, ids = projection.mlapdv[i], projection.brain_location_ids[i]
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]  # top left, top right, bottom left, bottom right
        np.testing.assert_allclose(np.transpose([record.x, record.y, record.z]), corners)
        assert record.brain_region == tuple(sorted(set(np.abs(ids).ravel().tolist())))
        assert record.n_xyz[:2] == ids.shape[::-1]


def test_the_window_s_normal_is_a_normal_for_the_surgery(located, tiny_session):
    meta, projection, _ = located
    update = update_surgery_json(meta, projection.locations.window.normal, tiny_session.key.subject)
    assert update.center == (2.6, -2.0)
    assert update.surface_normal_unit_vector[2] > 0.5, "it points up"
