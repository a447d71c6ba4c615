"""What assets are declared to read, against the files that they open while they are made."""

import os
import sys
from collections import defaultdict
from pathlib import Path

import dagster as dg
import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.declare import raw_asset
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.managers import AlfIOManager
from meso_assets.io.resources import Platform
from meso_core.session import RawKind
from meso_core.simulate import preset, simulate_session

#: Inputs whose files an asset does not open here: without landmarks, the location only looks which files of the
#: reference image there are.
NOT_OPENED = {("mean_image_mlapdv", "raw_reference")}


@pytest.fixture
def listener():
    """Real paths of the files that this process opens while ``listener.paths`` is a set."""

    class Listener:
        paths: set[Path] | None = None

        def __call__(self, event, arguments):
            if event == "open" and self.paths is not None and not isinstance(arguments[0], int):
                self.paths.add(Path(os.path.realpath(os.fsdecode(arguments[0]))))

    made = Listener()
    sys.addaudithook(made)  # for the rest of the process: it listens only as long as there is a set
    yield made
    made.paths = None


def identity(path):
    """What is the same for all names of a file: links to published movies lie in the work folder."""
    status = path.stat()
    return status.st_dev, status.st_ino


def owners_of_files(session):
    """Identity of each raw and each published file → the input that it belongs to."""
    seen = look_at(session)
    owners = {identity(session.path / file.path): raw_asset(kind) for kind in RawKind for file in seen.raw[kind].files}
    for asset, manifest in seen.made.items():
        # the gate before Alyx asks all verdicts, those of assets that are not sent too
        files = [file.path for file in manifest.files if not file.path.startswith("reports/qc/")]
        owners |= {identity(session.path / path): asset for path in files}
    return owners


@pytest.fixture
def comparing_apart(listener, monkeypatch):
    """Do not listen while the manager compares an asset that is made with the shapes of its siblings, to publish it."""
    check = AlfIOManager.check

    def unheard(*arguments):
        heard, listener.paths = listener.paths, None
        try:
            check(*arguments)
        finally:
            listener.paths = heard

    monkeypatch.setattr(AlfIOManager, "check", unheard)


@pytest.mark.usefixtures("without_workers", "comparing_apart")
def test_an_asset_opens_the_files_of_its_declared_inputs_and_of_no_other(
    tmp_path, make_settings, materialise, listener
):
    settings = make_settings(tmp_path)
    made = simulate_session(settings.root, preset("tiny"), faults=("missing_metadata",))  # of one bout: its tifs tell
    session = Platform.open(settings).session(str(made.key))
    opened = defaultdict(set)
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in CATALOGUE:
            listener.paths = set()
            assert materialise(instance, settings, session.key, [asset]).success, asset
            paths, listener.paths = listener.paths, None
            owners, opened_now = owners_of_files(session), {identity(path) for path in paths if path.exists()}
            opened[asset] = {owners[file] for file in opened_now if file in owners} - {asset}
    for asset, declared in CATALOGUE.items():
        assert opened[asset] <= set(declared.inputs), f"{asset} goes round its declared inputs"
        unused = {name for name in declared.inputs if name not in opened[asset] and (asset, name) not in NOT_OPENED}
        # one that tells a server what there is reads the records of its inputs
        assert unused == set() or declared.reads_records, f"{asset} declares what it does not read"
