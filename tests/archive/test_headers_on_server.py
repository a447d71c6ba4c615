"""Headers of tifs on a server: the metadata are those of a folder, and the pixels are not fetched."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meso_core.archive.delivered import delivered_files, raw_by_kind
from meso_core.archive.headers import HeadersView, headers_view
from meso_core.errors import InputFileError, MesoError, StorageError
from meso_core.scanimage import ScanImageTif, load_session_metadata, write_missing_meta
from meso_core.session import IMAGING_META_FILE, IMAGING_TIMES_FILE, RawKind, is_tif
from meso_core.simulate import preset, simulate_session
from meso_core.storage import LocalStore, Session, open_store
from meso_core.storage.remote import remove, upload
from meso_core.storage.remote.servers import backend, memory, s3, sftp
from meso_core.storage.remote.servers.filesystem import open_root
from meso_core.storage.remote.transfers import ranges
from meso_core.storage.remote.transfers.ranges import ranged
from tests.remote_roots import hash_of

_NUMBERS = count()
KINDS = ("memory", "s3", "openssh")


@dataclass
class Fetched:
    """What reads have asked of a server."""

    n_bytes: int = 0


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Fetched:
    """Count the bytes of raw tifs that come from servers."""
    counted = Fetched()

    def counting(of: type[backend.Backend]) -> None:
        read, read_ranges = of.read, of.read_ranges

        def one(self, place, start, length):
            found = read(self, place, start, length)
            counted.n_bytes += len(found) * place.endswith(".tif")
            return found

        def many(self, place, some):
            found = read_ranges(self, place, some)
            # a backend may read ranges one by one
            counted.n_bytes += 0 if of is memory.MemoryBackend else sum(map(len, found)) * place.endswith(".tif")
            return found

        monkeypatch.setattr(of, "read", one)
        monkeypatch.setattr(of, "read_ranges", many)

    for of in (memory.MemoryBackend, s3.S3Backend, sftp.SftpBackend):
        counting(of)
    return counted


def url_of(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if kind == "memory":
        return f"memory://headers{next(_NUMBERS)}"
    server = request.getfixturevalue(f"{kind}_server")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.new_root()


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty root."""
    return url_of(request.param, request, monkeypatch)


@pytest.fixture
def made(fresh_session):
    """A simulated session that a test may spoil."""
    return fresh_session()


def on_server(url: str, made, scratch: Path) -> Session:
    """Bring a session to a server."""
    root = open_root(url)
    for file in sorted(made.session_path.rglob("*")):
        if file.is_file():
            path = f"{made.key}/{file.relative_to(made.session_path).as_posix()}"
            upload(root, file, path, content=hash_of(file.read_bytes()))
    store = open_store(url, scratch=scratch)
    return Session(made.key, store.local(made.key), store)


def in_folder(made) -> Session:
    return Session(made.key, made.session_path, LocalStore(made.session_path.parents[2]))


@contextlib.contextmanager
def headers_of(session: Session) -> Iterator[HeadersView]:
    listing = session.store.listing(session.key)
    raw = raw_by_kind(session.path, delivered_files(session, {}, listing))
    session.fetch(file.path for file in raw[RawKind.METADATA].files)
    with headers_view(session, listing, raw[RawKind.METADATA], raw[RawKind.FRAMES]) as rig:
        yield rig


def metadata_of(session: Session, out: Path) -> tuple[str, dict[str, bytes], list[str]]:
    """Metadata of a session, the files that were made, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with headers_of(session) as rig:
            written = write_missing_meta(rig.folder, out, center_ml=1.0, center_ap=-2.0, index=rig.index)
            found = load_session_metadata(rig.folder, center_ml=1.0, center_ap=-2.0, index=rig.index)
    told = sorted(str(warning.message).replace(session.where(), "SESSION") for warning in caught)
    return found.to_json(), {path.relative_to(out).as_posix(): path.read_bytes() for path in written}, told


def tifs(made) -> list[Path]:
    return sorted(path for path in made.session_path.rglob("*.tif") if path.parent.name.startswith("raw_imaging"))


#: That headers come over SFTP too is shown by the large pages below.
@pytest.mark.parametrize("url", ["memory", "s3", pytest.param("openssh", marks=pytest.mark.nightly)], indirect=True)
@pytest.mark.parametrize("delivered", [True, False], ids=["the rig's metadata", "no metadata"])
def test_metadata_are_those_of_a_folder_and_no_tif_is_fetched(url, made, tmp_path, fetched, delivered):
    if not delivered:
        for name in (IMAGING_META_FILE, IMAGING_TIMES_FILE):
            for file in made.session_path.rglob(name):
                file.unlink()
    there = on_server(url, made, tmp_path / "scratch")
    assert metadata_of(there, tmp_path / "there") == metadata_of(in_folder(made), tmp_path / "here")
    assert not list(there.path.rglob("*.tif"))
    assert 0 < fetched.n_bytes <= sum(file.stat().st_size for file in tifs(made))


@pytest.fixture(scope="module")
def of_large_pages(tmp_path_factory: pytest.TempPathFactory):
    """A simulated session with pages of 300 kB or more."""
    tiny = preset("tiny")
    rois = tuple(replace(roi, shape=(150, 512), size_deg=(1.0, 1.0)) for roi in tiny.rois)
    config = replace(tiny, rois=rois, frames_per_bout=(20,), frames_per_file=20)
    return simulate_session(tmp_path_factory.mktemp("large") / "Subjects", config)


def test_of_large_pages_only_headers_come(of_large_pages, tmp_path, fetched, url):
    there = on_server(url, of_large_pages, tmp_path / "scratch")
    metadata_of(there, tmp_path / "there")
    size = sum(file.stat().st_size for file in tifs(of_large_pages))
    assert size > 6_000_000
    assert fetched.n_bytes < 0.05 * size


def test_a_tif_that_is_here_already_is_read_here(made, tmp_path, fetched):
    there = on_server(f"memory://headers{next(_NUMBERS)}", made, tmp_path / "scratch")
    first, *_ = (file for file in there.store.listing(there.key) if is_tif(file.path))
    there.fetch([first.path])
    fetched.n_bytes = 0
    with headers_of(there) as rig:
        index = rig.index(rig.folder / first.path)
        assert (rig.folder / first.path).is_symlink()
    assert (index.n_pages > 0, fetched.n_bytes) == (True, 0)


def test_tifs_of_a_bout_that_lost_some_to_its_archive_are_not_shown(made, tmp_path):
    """As of a folder: those that are left would look like a recording with gaps."""
    from meso_core.archive import archive_bout, save_report

    bout = made.session_path / "raw_imaging_data_00"
    save_report(made.session_path, archive_bout(bout))
    there = on_server(f"memory://headers{next(_NUMBERS)}", made, tmp_path / "scratch")
    one = next(file for file in there.store.listing(there.key) if is_tif(file.path))
    remove(open_root(there.store.root), [f"{there.key}/{one.path}"])
    with headers_of(there) as rig:
        assert not list((rig.folder / bout.name).glob("*.tif"))
        assert list((rig.folder / "raw_imaging_data_01").glob("*.tif"))
    assert not list(there.path.rglob("*.tar.bz2")), "nor is the archive fetched"


@pytest.mark.parametrize("n_whole", [0, 3])
def test_a_tif_that_is_mostly_zeros_is_refused_before_it_is_fetched(made, tmp_path, fetched, monkeypatch, n_whole):
    """A server does not tell what is a hole: that there is nothing but zeros shows from some of them."""
    monkeypatch.setattr("meso_core.scanimage.tiff.pages.MOST_BEHIND_BYTES", 1 << 20)
    tif = tifs(made)[0]
    stride = int(ScanImageTif(tif).data_offsets[1] - ScanImageTif(tif).data_offsets[0])
    os.truncate(tif, n_whole * stride)
    os.truncate(tif, 20 << 20)
    there = on_server(f"memory://headers{next(_NUMBERS)}", made, tmp_path / "scratch")
    told = r"an end soon after the last page.* are zeros, as far as some of them show.*from the rig again"
    with pytest.raises(InputFileError, match=told) as error:
        metadata_of(there, tmp_path / "there")
    assert f"{there.where()}/" in str(error.value)
    assert not list(there.path.rglob("*.tif"))
    assert fetched.n_bytes < 10 << 20


def test_a_tif_that_changes_while_its_headers_are_read_is_a_named_error(made, tmp_path, monkeypatch):
    there = on_server(f"memory://headers{next(_NUMBERS)}", made, tmp_path / "scratch")
    listing = there.store.listing(there.key)
    file = next(file for file in listing if is_tif(file.path))
    with headers_of(there) as rig:
        (tmp_path / "other").write_bytes(b"another file")
        where = f"{there.key}/{file.path}"
        upload(open_root(there.store.root), tmp_path / "other", where, content=hash_of(b"another file"))
        with pytest.raises((StorageError, InputFileError), match=r"has changed since|begins with"):
            rig.index(rig.folder / file.path)
        remove(open_root(there.store.root), [where])
        with pytest.raises(StorageError, match="no such file"):
            rig.index(rig.folder / file.path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_broken_tif_is_indexed_or_refused_as_in_a_folder(made, tmp_path, monkeypatch, data):
    """Bytes may be anything, and the end anywhere; blocks that are read together change nothing."""
    raw, size = bytearray(tifs(made)[0].read_bytes()), tifs(made)[0].stat().st_size
    for at in data.draw(st.lists(st.integers(0, size - 1) | st.integers(0, 3000), max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    content = bytes(raw[: data.draw(st.just(size) | st.integers(0, size))])
    tif = tmp_path / "a.tif"
    tif.write_bytes(content)
    root = open_root(f"memory://headers{next(_NUMBERS)}")
    there = upload(root, tif, "a.tif", content=hash_of(content))
    with monkeypatch.context() as patch:
        patch.setattr(ranges, "_BLOCK", data.draw(st.sampled_from([512, 1 << 16])))

        def far(path: Path) -> ScanImageTif:
            with ranged(root, "a.tif", there) as opened:
                return ScanImageTif(path, opened)

        assert outcome(far, tif) == outcome(ScanImageTif, tif)


def outcome(index, tif: Path) -> object:
    """What an index tells of a file, or why it is refused."""
    try:
        found = index(tif)
    except MesoError as error:
        return str(error)
    told = str(found.damage), found.software, found.artist, found.description
    return told, found.n_pages, found.data_offsets.tolist(), found.heads.tobytes()
