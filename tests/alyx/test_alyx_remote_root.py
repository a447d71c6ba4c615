"""Sessions on a server: what Alyx said and what a person allowed is kept there, and what is read is fetched."""

from itertools import count

import pytest

from meso_core.alyx import (
    Action,
    Kind,
    Sent,
    SubjectAnswer,
    allow,
    files_to_register,
    keep_answer,
    kept_answer,
    override_of,
    stage_revisions,
)
from meso_core.session import SessionKey
from meso_core.storage import Basis, MadeBy, Session
from meso_core.storage.remote.mirrors.scratch import Scratch
from meso_core.storage.remote.servers.filesystem import open_root
from meso_core.storage.remote.sessions.store import RemoteStore
from meso_core.storage.remote.transfers.transfer import write_small

KEY = SessionKey.parse("SP035/2023-03-03/001")
IMAGE = "raw_imaging_data_00/reference/referenceImage.raw.tif"
TIMES = "alf/FOV_00/mpci.times.npy"
ACTIVITY = "alf/FOV_00/mpci.ROIActivityF.npy"
REVISED = "alf/FOV_00/#2024-05-01#/mpci.times.npy"
_NUMBERS = count()


@pytest.fixture
def machine(tmp_path):
    root = open_root(f"memory://alyx{next(_NUMBERS)}")
    write_small(root, f"{KEY}/{IMAGE}", b"a tif of the rig")

    def seen_from(name):
        store = RemoteStore(root, Scratch(tmp_path / name, 10**9))
        return Session(KEY, store.local(KEY), store)

    return seen_from


def test_what_was_said_and_allowed_on_one_machine_is_known_on_another(machine):
    with machine("a").recording() as folder:
        keep_answer(folder, SubjectAnswer("SP035", ("tetO-G6f",), (1.0, -2.0)))
        allow(folder, "Ada", "seen, is fine", {"rois": "1234"})
    other = machine("b").path
    assert kept_answer(other).genotype == "tetO-G6f"
    assert override_of(other).versions == {"rois": "1234"}


def publish(session, asset, **files):
    staging = session.stage(asset)
    for path, content in files.items():
        staging.write(path, content)
    return session.publish(staging.seal(), Basis("1"), MadeBy("by hand"))


def test_reference_images_are_hashed_and_revisions_are_copied_from_what_is_fetched_and_nothing_else_is(machine):
    publish(machine("a"), "frame_times", **{TIMES: b"times", ACTIVITY: b"much"})
    session = machine("b")
    session.fetch([IMAGE])
    delivered = [file for file in session.store.listing(KEY) if file.path == IMAGE]
    own = files_to_register(session, ("frame_times",), {}, delivered)
    assert {file.path for file in own.files} == {TIMES, ACTIVITY, IMAGE}
    copy = session.stage("alyx_datasets")
    sent = [Sent(Kind.DATASET, TIMES, "1", Action.CREATE, path=REVISED)]
    sent += [Sent(Kind.DATASET, name, "2", Action.NOTHING, path=name) for name in (ACTIVITY, IMAGE)]
    stage_revisions(copy, session, own, sent, ())
    assert (copy.folder / REVISED).read_bytes() == b"times"
    assert not (session.path / ACTIVITY).exists(), "it is registered by its record, without its bytes"


def test_a_revision_that_another_machine_has_published_stays_on_the_server(machine):
    publish(machine("a"), "frame_times", **{TIMES: b"new times"})
    before = publish(machine("a"), "alyx_datasets", **{REVISED: b"times", "alyx/datasets.json": b"{}"})
    session = machine("b")
    own = files_to_register(session, ("frame_times",), {})
    staging = session.stage("alyx_datasets")
    staging.write("alyx/datasets.json", b"{ }")
    stage_revisions(staging, session, own, (), before.files)
    after = session.publish(staging.seal(), Basis("1"), MadeBy("by hand"))
    (kept,) = (file for file in after.files if file.path == REVISED)
    assert kept in before.files, "it was neither copied nor sent again"
    seen = machine("c")
    assert (seen.fetch([REVISED]) / REVISED).read_bytes() == b"times"
