"""Tables for ONE: identities that stay, hashes of what is there, the newest revision as the default."""

import hashlib

import pytest

from meso_core.errors import StorageError
from meso_core.lineage import session_id, write_one_tables
from meso_core.lineage.one_tables import DATASETS_TABLE, SESSIONS_TABLE
from meso_core.storage import Basis, MadeBy, Session, open_store
from tests.lineage.recorded import KEY, Recorded

RAW = "raw_imaging_data_00/_ibl_rawImagingData.meta.json"
TIMES = "alf/FOV_00/mpci.times.npy"


@pytest.fixture
def session(tmp_path) -> Session:
    recorded = Recorded(tmp_path / "Subjects")
    staging = recorded.session.stage("times")
    staging.write(TIMES, b"times")
    recorded.session.publish(staging.seal(), Basis("1", {}), MadeBy("run"), places="alf/.+")
    (recorded.path / RAW).write_text("{}")
    return recorded.session


def written(session, folder, *, raw=False):
    """Write and load the tables; datasets by their path."""
    from one.alf.cache import load_tables

    write_one_tables([session], folder, raw=raw)
    tables = load_tables(folder)
    return tables["sessions"], tables["datasets"].reset_index().set_index("rel_path")


def test_a_published_dataset_is_listed_with_its_hash(session, tmp_path):
    sessions, datasets = written(session, tmp_path)
    assert list(sessions.index) == [session_id(KEY)]
    assert (sessions.subject.item(), str(sessions.date.item()), sessions.number.item()) == ("SP035", "2023-03-03", 1)
    assert list(datasets.index) == [TIMES]
    assert datasets.hash[TIMES] == hashlib.md5(b"times").hexdigest()
    assert (datasets.file_size[TIMES], bool(datasets.exists[TIMES])) == (5, True)


def test_a_dataset_of_the_rig_is_listed_and_hashed_where_that_is_asked_for(session, tmp_path):
    _, datasets = written(session, tmp_path, raw=True)
    assert set(datasets.index) == {TIMES, RAW}
    assert datasets.hash[RAW] == hashlib.md5(b"{}").hexdigest()


def test_a_file_that_is_gone_or_replaced_keeps_the_hash_that_was_published_so_that_one_warns(session, tmp_path):
    (session.path / TIMES).unlink()
    _, datasets = written(session, tmp_path)
    assert not datasets.exists[TIMES]
    (session.path / TIMES).write_bytes(b"other times")
    _, datasets = written(session, tmp_path)
    assert datasets.hash[TIMES] == hashlib.md5(b"times").hexdigest()


def test_the_same_session_gives_the_same_bytes(session, tmp_path):
    for name in ("one", "two"):
        write_one_tables([session], tmp_path / name)
    for table in (SESSIONS_TABLE, DATASETS_TABLE):
        assert (tmp_path / "one" / table).read_bytes() == (tmp_path / "two" / table).read_bytes()


def test_the_newest_revision_is_the_default(session, tmp_path):
    for revision in ("2023-04-01", "2023-05-01"):
        file = session.path / f"alf/FOV_00/#{revision}#/mpci.times.npy"
        file.parent.mkdir()
        file.write_bytes(revision.encode())
    _, datasets = written(session, tmp_path, raw=True)
    default = datasets.index[datasets.default_revision & datasets.index.str.endswith("mpci.times.npy")]
    assert list(default) == ["alf/FOV_00/#2023-05-01#/mpci.times.npy"]


def test_no_session_gives_tables_that_one_opens(tmp_path):
    from one.api import One

    assert write_one_tables([], tmp_path).n_sessions == 0
    assert list(One(mode="local", cache_dir=tmp_path).search()) == []


def test_a_session_on_a_server_is_refused_before_anything_is_written(tmp_path):
    store = open_store("memory://one-tables", scratch=tmp_path / "scratch")
    session = Session(KEY, tmp_path, store)
    with pytest.raises(StorageError, match="Mount the storage"):
        write_one_tables([session], tmp_path / "tables")
    assert not (tmp_path / "tables").exists()
