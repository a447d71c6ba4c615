"""Ways in which a raw file can be other than it should, and what meso makes of a session that has one.

A bend takes the path of a file, and changes what lies there. ``outcome`` says what came of it.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import socket
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meso_assets.defs.standing.standings import look_at
from meso_core.alyx import register_snapshots
from meso_core.archive.delivered import delivered_view
from meso_core.archive.rawtif import hash_tifs
from meso_core.errors import MesoError, MesoWarning
from meso_core.location import find_reference
from meso_core.qc import Verdict
from meso_core.scanimage import ScanImageTif, bin_per_plane, load_session_metadata
from meso_core.scanimage.metadata.bouts import local_bouts
from meso_core.scanimage.reference_checks import check_references
from meso_core.scanimage.reference_images import reference_images
from meso_core.session import RawKind, SessionKey, judge_arrival, raw_tifs, read_description
from meso_core.storage import Session, open_store
from meso_core.timing import find_frame_times, session_frame_qc

SPARSE_BYTES = 60 << 30
#: What may be computed at most before there is an answer, s, and how long nothing may be done meanwhile.
COMPUTING_S, WAITING_S = 60, 100


def _cut(share: float, less: int = 0) -> Callable[[Path], None]:
    def bend(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: max(0, int(len(content) * share) - less)])

    return bend


def _flip(start: float, stop: float, seed: int) -> Callable[[Path], None]:
    def bend(path: Path) -> None:
        content, rng = bytearray(path.read_bytes()), random.Random(seed)
        at = rng.randrange(int(len(content) * start), max(int(len(content) * stop), int(len(content) * start) + 1))
        if content:
            content[min(at, len(content) - 1)] ^= 1 << rng.randrange(8)
        path.write_bytes(content)

    return bend


def _write(content: bytes) -> Callable[[Path], None]:
    return lambda path: void(path.write_bytes(content))


def _zero(start: float, stop: float, byte: bytes = b"\0") -> Callable[[Path], None]:
    def bend(path: Path) -> None:
        content = bytearray(path.read_bytes())
        a, b = int(len(content) * start), int(len(content) * stop)
        content[a:b] = byte * (b - a)
        path.write_bytes(content)

    return bend


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def bend(path: Path) -> None:
        path.unlink()
        make(path)

    return bend


def void(_: object) -> None:
    """Drop what a call returned."""


def _folder_with_file(path: Path) -> None:
    path.mkdir()
    (path / "x").write_bytes(b"x")


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _moved_and_linked(path: Path) -> None:
    kept = path.parent.parent.parent / f"elsewhere-{path.name}"
    path.rename(kept)
    path.symlink_to(kept)


def _random(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


ANY: dict[str, Callable[[Path], None]] = {
    "empty": _write(b""),
    **{f"cut to {share:.0%}": _cut(share) for share in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)},
    **{f"cut by {n} bytes": _cut(1, n) for n in (1, 2, 100)},
    "one byte": _cut(0, -1),
    **{f"bit flipped in the head {seed}": _flip(0, 0.02, seed) for seed in range(3)},
    **{f"bit flipped {seed}": _flip(0.02, 1, seed) for seed in range(3)},
    "zeros": _zero(0, 1),
    "zeros in front": _zero(0, 0.1),
    "zeros at the end": _zero(0.5, 1),
    "all bits": _zero(0, 1, b"\xff"),
    "random bytes": _random,
    "text": _write(b"hello\n"),
    "nothing": _instead(lambda path: None),
    "folder": _instead(Path.mkdir),
    "folder that holds a file": _instead(_folder_with_file),
    "pipe": _instead(os.mkfifo),
    "socket": _instead(_socket),
    "/dev/zero": _instead(lambda path: path.symlink_to("/dev/zero")),
    "/dev/null": _instead(lambda path: path.symlink_to("/dev/null")),
    "link to nothing": _instead(lambda path: path.symlink_to("/no/such/place")),
    "link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "link to a pipe": _instead(lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe"))),
    "link to the file": _moved_and_linked,
    "no rights": lambda path: path.chmod(0),
    "sparse": _instead(lambda path: (path.touch(), os.truncate(path, SPARSE_BYTES))),
    "sparse behind its content": lambda path: os.truncate(path, SPARSE_BYTES),
}


def _array(change: Callable[[np.ndarray], np.ndarray], **options: bool) -> Callable[[Path], None]:
    def bend(path: Path) -> None:
        with np.errstate(all="ignore"):  # what does not fit the type is part of the harm
            np.save(path, change(np.load(path)), allow_pickle=True)

    return bend


def _header(**fields: object) -> Callable[[Path], None]:
    def bend(path: Path) -> None:
        array = np.load(path)
        buffer = io.BytesIO()
        header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **fields}
        np.lib.format.write_array_header_1_0(buffer, header)
        path.write_bytes(buffer.getvalue() + array.tobytes())

    return bend


def _spoiled(array: np.ndarray) -> np.ndarray:
    changed = np.array(array, np.float64)
    changed.reshape(-1)[changed.size // 2] = np.nan
    return changed


NPY: dict[str, Callable[[Path], None]] = {
    **{f"as {dtype}": _array(lambda a, d=dtype: a.astype(d)) for dtype in ("f2", "f4", "i4", "u1", "?", "c16", "U8")},
    "coarse in a fine type": _array(lambda a: a.astype("f2").astype("f8")),
    "bytes in the other order": _array(lambda a: a.astype(a.dtype.newbyteorder(">"))),
    "columns first": _array(np.asfortranarray),
    "objects": _array(lambda a: a.astype(object)),
    "one dimension more": _array(lambda a: a[None]),
    "turned": _array(lambda a: np.atleast_2d(a).T),
    "flat": _array(lambda a: a.reshape(-1)),
    "no elements": _array(lambda a: a[:0]),
    "half": _array(lambda a: a[: len(a) // 2]),
    "twice": _array(lambda a: np.concatenate([a, a])),
    "backwards": _array(lambda a: a[::-1]),
    "with NaN": _array(_spoiled),
    "constant": _array(lambda a: np.full_like(a, 1)),
    "shape of a giant": _header(shape=(10**18,)),
    "shape below zero": _header(shape=(-1,)),
    "type of a giant": _header(descr="|V2147483647"),
    "version 9": lambda path: void(path.write_bytes(b"\x93NUMPY\x09\x09" + path.read_bytes()[8:])),
}
JSON: dict[str, Callable[[Path], None]] = {
    name: _write(text)
    for name, text in {
        "null": b"null", "list": b"[]", "object": b"{}", "deep": b"[" * 200_000, "deep and whole":
b'{"a":' * 5000 + b"1" + b"}" * 5000, "number without end": b'{"nFrames": 1' + b"0" * 10_000 + b"}",
        "infinity": b'{"nFrames": Infinity, "FOV": NaN}', "not UTF-8": b'{"x": "\xff\xfe"}', "text alone": b'"FOV"',
    }.items()
}  # fmt: skip
YAML: dict[str, Callable[[Path], None]] = {
    name: _write(text)
    for name, text in {
        "no such date": b"date: 2023-99-99\n", "deep": b"[" * 100_000, "number without end": b"x: " + b"9" * 100_000,
        "laughs": b"".join([b"a0: &a0 [x]\n", *(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9))
        for i in range(1, 12)), b"sync: {x: {collection: *a11}}\n"]), "python":
        b"!!python/object/apply:os.system [true]",
        "empty number": b'x: !!float ""\n', "no time": b"x: !!timestamp nonsense\n", "list as key": b"? [a]\n: 1\n",
        "not UTF-8": b"x: \xff\xfe\n", "huge": b"x: y\n" * 1_000_000, "list": b"- a\n", "odd types":
        b"devices: {mesoscope: [1]}\nsync: 3\n", "loop": b"a: &a [*a]\nsync: *a\n",
    }.items()
}  # fmt: skip


def _mat_bomb(path: Path) -> None:
    packed, zeros = zlib.compressobj(1), bytes(1 << 24)
    content = b"".join([*(packed.compress(zeros) for _ in range(72)), packed.flush()])
    header = path.read_bytes()[:128]
    path.write_bytes(header + (15).to_bytes(4, "little") + len(content).to_bytes(4, "little") + content)


def _mat(**variables: object) -> Callable[[Path], None]:
    def bend(path: Path) -> None:
        from scipy.io import savemat

        savemat(path, variables)

    return bend


MAT: dict[str, Callable[[Path], None]] = {
    "a bomb": _mat_bomb,
    "other variables": _mat(other=1),
    "text": _mat(badframes="all", frameQC_frames="all", frameQC_names="ok"),
    "nothing in it": _mat(badframes=[], frameQC_frames=[], frameQC_names=[]),
    "fractions": _mat(badframes=[0.5], frameQC_frames=[0.5], frameQC_names=["ok"]),
    "NaN": _mat(badframes=[np.nan], frameQC_frames=[np.nan], frameQC_names=["ok"]),
    "beyond the frames": _mat(badframes=[10**9], frameQC_frames=[0], frameQC_names=["ok"]),
    "below zero": _mat(badframes=[-1], frameQC_frames=[-1], frameQC_names=["ok"]),
    "structures": _mat(badframes={"a": 1}, frameQC_frames={"a": 1}, frameQC_names={"a": 1}),
}
HTSV: dict[str, Callable[[Path], None]] = {
    name: _write(text)
    for name, text in {
        "one column": b"time\n1\n", "no number": b"time\tname\tinfo\nx\tmpepUDP\ty\n", "infinity":
        b"time\tname\tinfo\ninf\tmpepUDP\ty\n", "short row": b"time\tname\tinfo\n1\n", "not UTF-8":
        b"time\tname\tinfo\n1\tmpepUDP\t\xff\n", "NUL": b"time\tname\tinfo\n1\tmpepUDP\t\0\n", "open quote":
        b'time\tname\tinfo\n1\tmpepUDP\t"x\n', "header alone": b"time\tname\tinfo\n",
    }.items()
}  # fmt: skip
BY_ENDING = {".npy": NPY, ".json": JSON, ".yaml": YAML, ".mat": MAT, ".htsv": HTSV}


@dataclass(frozen=True)
class Case:
    """A file of the session, by its path below it, and how it is bent."""

    file: str
    bend: str

    @property
    def id(self) -> str:
        return f"{self.file}: {self.bend}"


def cases_of(session_path: Path) -> list[Case]:
    """List all cases: each raw file in each way that fits its kind."""
    files = sorted(p.relative_to(session_path).as_posix() for p in session_path.rglob("*") if p.is_file())
    cases = [Case(file, bend) for file in files for bend in (*ANY, *BY_ENDING.get(Path(file).suffix, {}))]
    twins = [
        Case(file, kind)
        for file in files
        for kind in ("of the other bout", "of another session", "of another kind")
        if "other bout" not in kind or "raw_imaging_data" in file
    ]
    return cases + twins


def bend(session_path: Path, case: Case, other_session: Path) -> None:
    """Change one file of a session."""
    path = session_path / case.file
    if case.bend == "of another kind":
        kinds = {".npy": "_ibl_experiment.description.yaml"}
        source = kinds.get(path.suffix, "raw_sync_data/_timeline_DAQdata.timestamps.npy")
        path.write_bytes((session_path / source).read_bytes())
    elif case.bend == "of another session":
        path.write_bytes(_twin(other_session, case.file).read_bytes())
    elif case.bend == "of the other bout":
        there = ("data_00", "data_01") if "data_00" in case.file else ("data_01", "data_00")
        path.write_bytes(_twin(session_path, case.file.replace(*there)).read_bytes())
    else:
        {**BY_ENDING.get(path.suffix, {}), **ANY, **BY_ENDING.get(path.suffix, {})}[case.bend](path)


def _twin(session_path: Path, file: str) -> Path:
    """Find the file that takes the same place; the names of tifs hold bout and subject."""
    place = (session_path / file).parent
    return session_path / file if (session_path / file).is_file() else sorted(place.glob(f"*{Path(file).suffix}"))[0]


@dataclass(frozen=True)
class Found:
    """What meso made of a session."""

    #: Part of the results → its digest.
    parts: Mapping[str, str]
    #: Verdicts that do not pass, and warnings.
    doubts: tuple[str, ...]


class Parts:
    """Digests of the parts of the results."""

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {}

    def add(self, part: str, value: object) -> None:
        """Add a value to a part."""
        content = value if isinstance(value, bytes) else repr(value).encode()
        self._hashes.setdefault(part, hashlib.sha256()).update(content)

    def digests(self) -> dict[str, str]:
        """Digest of each part."""
        return {part: digest.hexdigest() for part, digest in self._hashes.items()}


def process(session_path: Path, out: Path) -> Found:
    """Read a session as the assets do: every raw file is looked into, nothing that takes long is computed."""
    key = SessionKey(*session_path.parts[-3:])
    session = Session(key, session_path, open_store(session_path.parents[2]))
    seen, parts, results = look_at(session), Parts(), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MesoWarning)
        judged = judge_arrival(seen.delivered, now_ns=10**19, quiet_ns=0, description=read_description(session_path))
        parts.add("readiness", judged.ready)
        with delivered_view(seen.raw[RawKind.METADATA], seen.raw[RawKind.FRAMES]) as rig:
            metadata = load_session_metadata(rig)
            for movie in bin_per_plane(local_bouts(rig), metadata.imaging, out / "movies"):
                parts.add("movies", movie.path.read_bytes())
        for bout in metadata.bouts:
            tifs = [ScanImageTif(tif) for tif in raw_tifs(session_path / bout.name)]
            parts.add("archives", [m.sha256 for m in hash_tifs(tifs)])
        parts.add("metadata", metadata.to_json())
        quality = session_frame_qc([session_path / bout.name for bout in metadata.bouts], metadata)
        times = find_frame_times(session_path / "raw_sync_data", metadata, session=key)
        results += [*quality.joined.results, *times.results]
        for part, made in (("ratings", quality), ("times", times)):
            for datasets in made.datasets().values():
                for name, value in sorted(datasets.items()):
                    parts.add(part, name)
                    parts.add(part, value.to_csv() if hasattr(value, "to_csv") else np.asarray(value).tobytes())
        with delivered_view(seen.raw[RawKind.REFERENCE]) as rig:
            for bout in metadata.bouts:
                (rig / bout.name).mkdir(exist_ok=True)
            window = metadata.imaging.window
            images = reference_images(rig, out, center_ml=window.ml_mm, center_ap=window.ap_mm)
            find_reference([rig / bout.name for bout in metadata.bouts])
        results += check_references([(image.bout, image.taken_at) for image in images], metadata.bouts)
        parts.add("reference images", [(image.sha256, image.shape, image.picture) for image in images])
        parts.add("snapshots", register_snapshots(session_path, session=key).to_json())
    doubts = [f"{r.check} {r.verdict.name}: {r.message}" for r in results if r.verdict is not Verdict.PASS]
    doubts += [str(w.message) for w in caught if issubclass(w.category, MesoWarning)]
    return Found(parts.digests(), tuple(sorted(doubts)))


class HangError(Exception):
    """Raised when something takes longer than a person waits."""


@contextmanager
def at_most(computing_s: int, waiting_s: int) -> Iterator[None]:
    """Interrupt the block after so much time of the processor, or after a time in which it does nothing else."""

    computed = time.process_time()

    def ring(number: int, _: object) -> None:
        nonlocal computed
        before, computed = computed, time.process_time()
        if number == signal.SIGALRM and computed - before > 1:  # slow, on a machine that does other things too
            signal.setitimer(signal.ITIMER_REAL, waiting_s)
            return
        raise HangError(f"no end, told by {signal.Signals(number).name}")

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, computing_s), signal.SIGALRM: (signal.ITIMER_REAL, waiting_s)}
    before = {number: signal.signal(number, ring) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def outcome(session_path: Path, out: Path, undisturbed: Found) -> tuple[str, str]:
    """Say what came of a bent session: a word, and more about it."""
    try:
        with at_most(COMPUTING_S, WAITING_S):
            found = process(session_path, out)
    except MesoError as error:
        text = str(error)
        told = all(part in text for part in (": expected ", ", found ")) and text.rstrip().endswith(".")
        return ("named error" if told else "unhelpful error"), f"{type(error).__name__}: {text}"
    except HangError as error:
        return "hang", str(error)
    except Exception as error:  # noqa: BLE001  which is what is looked for
        return "nameless error", "".join(traceback.format_exception(error)[-6:])
    new = [doubt for doubt in found.doubts if doubt not in undisturbed.doubts]
    if found.parts == undisturbed.parts:
        return "same result", "; ".join(new)
    changed = sorted(part for part, digest in undisturbed.parts.items() if found.parts.get(part) != digest)
    return ("doubt", "; ".join(new)) if new else ("other result", ", ".join(changed))
