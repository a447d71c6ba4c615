"""Both readers of bzip2, threads and the program lbzip2, keep the same rules: all of it, exactly, or an error."""

from __future__ import annotations

import bz2
import gc
import hashlib
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from archive_programs import needs, still_running

from meso_core.archive.codec import bzip2
from meso_core.archive.codec import lbzip2 as external
from meso_core.archive.codec.bzip2 import Bzip2Reader, Bzip2Writer
from meso_core.archive.codec.lbzip2 import Lbzip2Reader, open_reader
from meso_core.archive.codec.reader import ForwardReader
from meso_core.errors import ArchiveError, MesoWarning, MissingInputError, ProcessingError
from meso_core.storage import FileHash

Open = Callable[[Path], ForwardReader]

NOISE = np.random.default_rng(3).poisson(30, 150_000).astype("<i2").tobytes()
#: As a blank image with a few bright pixels: a block of a few kB becomes many MB.
RUNS = np.repeat(np.random.default_rng(4).integers(0, 3, 20_000, np.uint8), 200).tobytes()


@pytest.fixture(params=["threads", "lbzip2"])
def reader(request: pytest.FixtureRequest) -> Open:
    """Open a file with one of the two."""
    if request.param == "threads":
        return lambda path: Bzip2Reader(path, workers=2, hashed=True)
    program = needs("lbzip2")
    return lambda path: Lbzip2Reader(path, program=program, workers=2, hashed=True)


@pytest.fixture
def lbzip2() -> Callable[[Path], Lbzip2Reader]:
    """Open a file with lbzip2."""
    program = needs("lbzip2")
    return lambda path: Lbzip2Reader(path, program=program, workers=2)


@pytest.fixture(scope="module", autouse=True)
def _what_was_there_is_no_garbage() -> Iterator[None]:
    """Let the collections of this module pass over what others loaded: each would take a fifth of a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No process, no zombie, no thread and no open file outlives a reader."""
    gc.collect()
    before = still_running()
    yield
    assert still_running() == before


def _streams(data: bytes, n_bytes: int) -> bytes:
    """A file like ours, of smaller streams."""
    return b"".join(bz2.compress(data[i : i + n_bytes], 3) for i in range(0, len(data), n_bytes))


def _all(reader: ForwardReader, portion: int = 70_001) -> bytes:
    with reader:
        return b"".join(iter(lambda: reader.read(portion), b""))


FORMS = {
    "empty": bz2.compress(b""),
    "one byte": bz2.compress(b"a"),
    "fifteen bytes": bz2.compress(b"0123456789abcde"),
    "sixteen bytes": bz2.compress(b"0123456789abcdef"),
    "two streams": bz2.compress(NOISE[:1000]) + bz2.compress(NOISE[1000:5000]),
    "many small streams": _streams(NOISE, 3001),
    "one stream of many blocks": bz2.compress(NOISE, 1),
    "an empty stream between": bz2.compress(b"a") + bz2.compress(b"") + bz2.compress(b"b"),
    "long, then short": bz2.compress(NOISE, 1) + bz2.compress(b"x" * 10) + bz2.compress(b"yy"),
    "empty, then long": bz2.compress(b"") + bz2.compress(NOISE, 1),
    "few bytes that become many": bz2.compress(bytes(10_000_000), 1) + bz2.compress(b"yy"),
    "runs": bz2.compress(RUNS),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("portions", ["large", "small"])
def test_every_form_decodes_as_bunzip2_does(
    form: str, portions: str, reader: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if portions == "small":  # so that these few bytes meet every limit
        for module, name, value in (
            (bzip2, "_LONGEST_PIECE", 100_000),
            (bzip2, "_READ_BYTES", 30_000),
            (bzip2, "_LARGEST_STREAM", 1_000_000),
            (external, "_READ_BYTES", 100),
            (external, "_PIPE_BYTES", 1),
        ):
            monkeypatch.setattr(module, name, value)
    path = tmp_path / "x.bz2"
    path.write_bytes(FORMS[form])
    assert _all(reader(path)) == bz2.decompress(FORMS[form])


def test_portions_of_any_size_make_the_same_whole(reader: Open, tmp_path: Path) -> None:
    """Read and readinto in turns, also of nothing; fewer bytes than asked for come at the end alone."""
    path, rng, got = tmp_path / "x.bz2", random.Random(5), bytearray()
    path.write_bytes(FORMS["many small streams"])
    with reader(path) as file:
        while len(got) < len(NOISE):
            n = rng.choice([0, 1, 15, 16, 17, 512, 5000, 50_000])
            if rng.random() < 0.5:
                part = file.read(n)
            else:
                part = bytearray(n)
                assert file.readinto(memoryview(part)) == min(n, len(NOISE) - len(got))
            got += part[: len(NOISE) - len(got)]
            assert file.position == len(got)
            assert len(part) == n or len(got) == len(NOISE)
        assert (file.read(10), file.read(), file.readinto(memoryview(bytearray(5)))) == (b"", b"", 0)
    assert got == NOISE
    with reader(path) as file:
        assert file.read(3) + file.read() == NOISE


def test_what_the_writer_packs_every_reader_unpacks(reader: Open, tmp_path: Path) -> None:
    path, data = tmp_path / "x.bz2", NOISE * 4
    for size in (0, 1, 297_000, 297_001, 1_000_000):
        with path.open("wb") as file, Bzip2Writer(file, workers=2) as writer:
            writer.write(data[:size])
            writer.finish()
        assert _all(reader(path)) == data[:size]


DAMAGED = {
    "streams as ours": (_streams(NOISE[:60_000], 7000), NOISE[:60_000]),
    "one stream as of tar -cj": (bz2.compress(NOISE[:60_000], 9), NOISE[:60_000]),
    "one stream of many blocks": (bz2.compress(NOISE[:250_000], 1), NOISE[:250_000]),
    "runs": (bz2.compress(RUNS[:3_000_000], 9), RUNS[:3_000_000]),
}


def _around_streams(packed: bytes) -> set[int]:
    """Bytes of the first streams' headers and ends, and of the file's end, where no checksum of a block reaches."""
    starts = [m.start() for m in re.finditer(rb"BZh[1-9]1AY&SY", packed)][:3]
    near = {at + k for at in (*starts, len(packed)) for k in range(-14, 14)}
    return {at for at in near if 0 <= at < len(packed)}


@pytest.mark.parametrize("form", DAMAGED)
def test_a_flipped_bit_is_an_error_or_makes_no_difference(form: str, reader: Open, tmp_path: Path) -> None:
    """One bit of each byte where no checksum reaches, another one from byte to byte."""
    _with_flipped_bits(form, reader, tmp_path / "x.bz2", lambda at: [3 * at % 8], 30)


@pytest.mark.nightly
@pytest.mark.parametrize("form", DAMAGED)
def test_any_flipped_bit_is_an_error_or_makes_no_difference(form: str, reader: Open, tmp_path: Path) -> None:
    _with_flipped_bits(form, reader, tmp_path / "x.bz2", lambda at: range(8), 120)


def _with_flipped_bits(
    form: str, reader: Open, path: Path, bits: Callable[[int], Iterable[int]], n_random: int
) -> None:
    packed, whole = DAMAGED[form]
    rng, harmless = random.Random(form), 0
    flips = [(at, 1 << bit) for at in sorted(_around_streams(packed)) for bit in bits(at)]
    flips += [(rng.randrange(len(packed)), 1 << rng.randrange(8)) for _ in range(n_random)]
    for at, bit in flips:
        path.write_bytes(packed[:at] + bytes([packed[at] ^ bit]) + packed[at + 1 :])
        try:
            assert _all(reader(path)) == whole, f"bit {bit} of byte {at}: other content in silence"
        except ArchiveError:
            continue
        harmless += 1  # the block size, bits that fill a stream's last byte, a code that no symbol uses
    assert harmless <= len(flips) // 20


@pytest.mark.parametrize("form", DAMAGED)
def test_a_file_that_breaks_off_is_an_error_but_between_streams(form: str, reader: Open, tmp_path: Path) -> None:
    """A cut between two streams leaves a whole bzip2 file; that its tar has no end is noticed one room further."""
    packed, whole = DAMAGED[form]
    path, rng = tmp_path / "x.bz2", random.Random(form)
    between = {m.start() for m in re.finditer(rb"BZh[1-9]1AY&SY", packed)} - {0}
    for length in sorted(_around_streams(packed) | {rng.randrange(len(packed)) for _ in range(60)}):
        path.write_bytes(packed[:length])
        if length in between:
            assert _all(reader(path)) == bz2.decompress(packed[:length])
            assert whole.startswith(bz2.decompress(packed[:length]))
        else:
            with pytest.raises(ArchiveError):
                _all(reader(path))


@pytest.mark.parametrize("tail", [b"\0", b"garbage", b"B", b"BZ", b"BZh", b"BZh9", b"BZh91AY&SY", b"\0" * 2_000_000])
@pytest.mark.parametrize("form", DAMAGED)
def test_something_behind_the_last_stream_is_an_error(form: str, tail: bytes, reader: Open, tmp_path: Path) -> None:
    (tmp_path / "x.bz2").write_bytes(DAMAGED[form][0] + tail)
    with pytest.raises(ArchiveError):
        _all(reader(tmp_path / "x.bz2"))


@pytest.mark.parametrize("what", [b"", b"B", b"BZh9", b"no bzip2 at all", b"\0" * 100_000])
def test_what_is_no_bzip2_is_an_error(what: bytes, reader: Open, tmp_path: Path) -> None:
    (tmp_path / "x.bz2").write_bytes(what)
    with pytest.raises(ArchiveError):
        _all(reader(tmp_path / "x.bz2"))


def test_an_error_names_file_expected_found_and_remedy_and_stays(reader: Open, tmp_path: Path) -> None:
    path = tmp_path / "x.bz2"
    path.write_bytes(bytes([*FORMS["many small streams"][:-20], *b"damaged for this test"]))
    with reader(path) as file:
        for _ in range(3):  # who reads on after an error gets no end of file
            with pytest.raises(ArchiveError, match=r"x\.bz2: expected whole and valid bzip2 data, found .+\. Restore"):
                file.read()


def test_files_that_cannot_be_opened_are_named(reader: Open, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"x\.bz2: expected an archive, found no such file"):
        reader(tmp_path / "x.bz2")
    with pytest.raises(ArchiveError, match="expected a readable file, found Is a directory"):
        reader(tmp_path)


def test_a_disk_that_cannot_be_read_is_named(reader: Open) -> None:
    """The first page of a process's memory opens like a file, and reads like a broken disk."""
    with reader(Path("/proc/self/mem")) as file, pytest.raises(ArchiveError, match=r"found .*Input/output error"):
        file.read(1)


@pytest.mark.parametrize("n_bytes", [None, 0, 1, 100_000, len(NOISE) * 4])
def test_who_stops_early_leaves_nothing_behind(n_bytes: int | None, reader: Open, tmp_path: Path) -> None:
    """What is left is seen by the fixture above: processes, threads, pipes; a warning would be an error."""
    path = tmp_path / "x.bz2"
    path.write_bytes(bz2.compress(NOISE) * 4)
    file = reader(path)

    def fail() -> None:
        with file:
            if n_bytes is not None:
                assert len(file.read(n_bytes)) == n_bytes
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fail()
    file.close()  # once more does no harm


def test_a_long_stream_is_not_hoarded(tmp_path: Path) -> None:
    """A single stream, as of ``tar -cj``: what was read is given out before more is read."""
    packed, given = bz2.compress(NOISE * 20, 1), 0
    (tmp_path / "x.bz2").write_bytes(packed)
    with Bzip2Reader(tmp_path / "x.bz2", workers=2) as file:
        while data := file.read(100_000):
            given += len(data)
            ahead = file.bytes_in - given * len(packed) // (20 * len(NOISE))
            assert ahead < 5_100_000  # a piece that may turn out to be short, and what is read in one go
    assert given == 20 * len(NOISE)


_PEAK = """
import sys
from pathlib import Path
from meso_core.archive.codec import bzip2, lbzip2 as external
path, name = Path(sys.argv[1]), sys.argv[2]
def peak(who):
    return int(Path(f"/proc/{who}/status").read_text().split("VmHWM:")[1].split()[0]) // 1000
n, theirs = 0, 0
buffer = memoryview(bytearray(1 << 20))
reader = bzip2.Bzip2Reader(path, workers=2) if name == "threads" else external.Lbzip2Reader(path, workers=2)
with reader as file:
    while k := file.readinto(buffer):
        if n == 0 and name == "lbzip2":
            import time
            time.sleep(0.5)  # it decodes ahead as far as it will
        n += k
        if name == "lbzip2" and n < 700_000_000:
            theirs = max(theirs, peak(file._process.pid))
print(n, peak("self"), theirs)
"""


@pytest.mark.parametrize("name", ["threads", "lbzip2"])
def test_a_bomb_does_not_fill_the_memory(name: str, tmp_path: Path) -> None:
    """720 MB of one value in 600 bytes, and what the program takes counts too."""
    if name == "lbzip2":
        needs("lbzip2")
    path = tmp_path / "x.bz2"
    path.write_bytes(bz2.compress(bytes(45_000_000)) * 16)
    command = [sys.executable, "-c", _PEAK, str(path), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    n_bytes, own_mb, other_mb = map(int, done.stdout.split())
    assert n_bytes == 16 * 45_000_000
    assert (other_mb > 0) == (name == "lbzip2")
    assert own_mb + other_mb < 450, (own_mb, other_mb)


def test_options_in_the_environment_reach_no_lbzip2(
    lbzip2: Callable[[Path], Lbzip2Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.bz2").write_bytes(FORMS["two streams"])
    for name in ("LBZIP2", "BZIP2", "BZIP"):
        monkeypatch.setenv(name, "--compress")
    assert _all(lbzip2(tmp_path / "x.bz2")) == NOISE[:5000]


@pytest.mark.parametrize("n_before", [0, 100_000])
def test_an_lbzip2_that_is_killed_is_no_end_of_the_file_and_no_damage(
    n_before: int, lbzip2: Callable[[Path], Lbzip2Reader], tmp_path: Path
) -> None:
    (tmp_path / "x.bz2").write_bytes(bz2.compress(NOISE) * 60)
    with lbzip2(tmp_path / "x.bz2") as file:
        file.read(n_before)
        (child,) = psutil.Process().children()
        child.kill()
        for _ in range(2):
            with pytest.raises(ProcessingError, match="found it ended by signal 9"):
                file.read()


@pytest.mark.parametrize(("program", "error"), [("false", ProcessingError), ("true", ArchiveError)])
def test_a_program_that_fails_or_gives_nothing_is_an_error(
    program: str, error: type[Exception], tmp_path: Path
) -> None:
    (tmp_path / "x.bz2").write_bytes(bz2.compress(NOISE) * 4)
    with pytest.raises(error, match=r"x\.bz2: expected"):
        _all(Lbzip2Reader(tmp_path / "x.bz2", program=needs(program)))


def test_an_lbzip2_that_cannot_run_is_told_and_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "lbzip2"
    program.parent.mkdir()
    program.write_bytes(b"\x7fELF, but not really")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    (tmp_path / "x.bz2").write_bytes(FORMS["runs"])
    with pytest.warns(MesoWarning, match="does not start"):
        reader = open_reader(tmp_path / "x.bz2")
    assert _all(reader) == RUNS


def test_lbzip2_is_used_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = needs("lbzip2")
    (tmp_path / "x.bz2").write_bytes(FORMS["runs"])
    monkeypatch.setenv("PATH", str(Path(program).parent))
    with open_reader(tmp_path / "x.bz2") as file:
        assert isinstance(file, Lbzip2Reader)
    monkeypatch.setenv("PATH", str(tmp_path))
    with open_reader(tmp_path / "x.bz2") as file:
        assert isinstance(file, Bzip2Reader)


def test_lbzip2_does_not_outlive_a_process_that_is_killed(tmp_path: Path) -> None:
    needs("lbzip2")
    (tmp_path / "x.bz2").write_bytes(bz2.compress(NOISE) * 60)
    script = (
        "import sys, time; from pathlib import Path; from meso_core.archive.codec.lbzip2 import Lbzip2Reader\n"
        "file = Lbzip2Reader(Path(sys.argv[1])); file.read(1000); print(file._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "x.bz2")], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.name() == "lbzip2"
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.01)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("form", FORMS)
def test_hashes_are_those_of_the_compressed_file(form: str, reader: Open, tmp_path: Path) -> None:
    packed = FORMS[form]
    (tmp_path / "x.bz2").write_bytes(packed)
    with reader(tmp_path / "x.bz2") as file:
        file.read()
        assert file.content == FileHash(
            len(packed), hashlib.sha256(packed).hexdigest(), hashlib.md5(packed).hexdigest()
        )
