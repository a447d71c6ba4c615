"""The RO-Crate of a lineage conforms to Process Run Crate 0.5, by the validator of the RO-Crate community."""

import json
import subprocess
from pathlib import Path

import pytest

from meso_core.lineage import trace, write_crate
from meso_core.session import ListedFile
from meso_core.storage import standing
from tests.conftest import unavailable
from tests.lineage.recorded import ASSETS, Recorded
from tests.present_files import files_in


@pytest.fixture
def validate(peer_python, tmp_path):
    """Function that validates a crate and returns the answer."""
    lacks = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ['rocrate_validator', 'rocrate'])))"
    if subprocess.run([peer_python, "-c", lacks], check=False).returncode:
        unavailable("roc-validator in the peers' environment", "make peer")

    def run(folder):
        answer = tmp_path / "answer.json"
        script = Path(__file__).with_name("crate_peer.py")
        subprocess.run([peer_python, script, folder, answer], check=True, capture_output=True, timeout=120)
        return json.loads(answer.read_text())

    return run


@pytest.fixture
def crate(tmp_path):
    recorded = Recorded(tmp_path / "root").make_all()
    made = recorded.manifests()
    standings = {name: standing(files_in(recorded.path), made[name], recorded.basis(name)) for name in ASSETS}
    raw = {"raw_frames": ("f" * 64, (ListedFile("raw_imaging_data_00/a.tif", 3, 1),))}
    found = trace(recorded.session, "alf/FOV_00/cells.npy", standings, raw)
    return write_crate(recorded.session, found, tmp_path / "crate")


def test_the_crate_of_a_lineage_conforms_to_its_profile(crate, validate):
    assert validate(crate.parent) == {"passed": True, "issues": []}


def test_the_validator_finds_what_a_crate_lacks(crate, validate):
    body = json.loads(crate.read_text())
    for entity in body["@graph"]:
        if entity["@type"] == "CreateAction":
            del entity["instrument"]
    crate.write_text(json.dumps(body))
    assert not validate(crate.parent)["passed"]
