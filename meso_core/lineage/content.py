"""Published files against their records: sizes and times, or the content of each.

What belongs here: comparing many files side by side, and telling whose content a changed file has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from ..errors import InputFileError
from ..progress import Progress
from ..storage import Cause, FileRecord, Manifest, PresentFiles, Session, Standing
from ..storage.manifests.present import difference
from .chain import RecordHistory
from .findings import Finding, Kind

#: What a person edits in suite2p's GUI, with what else is saved there: a run takes it over, and refuses all others.
_LABELS = "/iscell.npy"


def changed_files(
    session: Session,
    present: PresentFiles,
    compared: Sequence[tuple[Standing, Manifest]],
    histories: Mapping[str, RecordHistory],
    *,
    deep: bool,
    threads: int,
    progress: Progress,
) -> tuple[list[Finding], int]:
    """Find published files that are gone or changed; returns the findings and how many bytes were read.

    Parameters
    ----------
    present
        The session's files as they were listed.
    compared
        How each asset stands, and its manifest. A quick look has been taken for its standing.
    histories
        Replaced manifests by asset: a changed file may have the content of an earlier run.
    """
    found: list[Finding] = []
    records = [(manifest, file) for _, manifest in compared for file in manifest.files]
    wanted = _worth_reading(present, [file for _, file in records], histories) if deep else []
    read, n_bytes = _read(session, wanted, threads, progress)
    for standing, manifest in compared:
        if not deep and Cause.FILES not in standing.causes:
            continue
        told = []
        for file in manifest.files:
            content = read.get(file.path, _Content())
            if content.why_not and not _is_gone_or_other(present, file):
                found.append(_unread(session, manifest, file, content.why_not))
                continue
            digest = content.sha256
            sentence = _compare(present, file, digest) if deep else present.wrong_with(file)
            if sentence:
                told.append(sentence)
                whose = _whose(digest, file, [m for _, m in compared], histories) if digest else ""
                found.append(_finding(session, manifest, file, sentence, whose))
        found += [_doubt(session, manifest, text) for text in standing.broken if text not in told]
    return found, n_bytes


@dataclass(frozen=True, slots=True)
class _Content:
    """What reading a file gave; nothing where it was not read."""

    sha256: str = ""
    #: Why it could not be read; empty where it was.
    why_not: str = ""


def _worth_reading(
    present: PresentFiles, files: Sequence[FileRecord], histories: Mapping[str, RecordHistory]
) -> list[FileRecord]:
    """Choose the files that are to be read.

    One of another size is changed whatever it holds; it is read only if it may have the content that another record
    names, for then that is told.
    """
    earlier = (file for history in histories.values() for manifest in history.records for file in manifest.files)
    sizes = {file.size for file in (*files, *earlier)}
    there = ((file, present.files.get(file.path)) for file in files)
    return [file for file, seen in there if seen is not None and seen.size in sizes]


def _read(
    session: Session, files: Sequence[FileRecord], threads: int, progress: Progress
) -> tuple[dict[str, _Content], int]:
    """Hash files side by side; returns what each holds, by path, and how many bytes were read."""
    lock, done, total = Lock(), 0, sum(file.size for file in files)

    def tell(n: int) -> None:
        nonlocal done
        with lock:
            done += n
            progress(min(done, total), total, "bytes compared")

    def one(file: FileRecord) -> tuple[str, _Content]:
        try:
            return file.path, _Content(session.store.sha256(session.key, file.path, tell))
        except (OSError, InputFileError) as error:
            return file.path, _Content("", str(error).rstrip("."))

    with ThreadPoolExecutor(threads) as pool:
        found = dict(pool.map(one, sorted(files, key=lambda file: -file.size)))
    return found, done


def _compare(present: PresentFiles, file: FileRecord, digest: str) -> str:
    return difference(file, present.files.get(file.path), lambda: digest, content=True)


def _is_gone_or_other(present: PresentFiles, file: FileRecord) -> bool:
    """Whether a listing alone tells that a file is not as it was published."""
    return bool(difference(file, present.files.get(file.path), lambda: file.sha256, content=False))


def _whose(digest: str, file: FileRecord, manifests: Sequence[Manifest], histories: Mapping[str, RecordHistory]) -> str:
    """Say whose content a changed file has, if a record knows it."""
    for manifest in manifests:
        for other in manifest.files:
            if other.sha256 == digest:
                return f"the content of {other.path}"
    for history in histories.values():
        for manifest in history.records[1:]:
            for other in manifest.files:
                if other.sha256 == digest:
                    same = "" if other.path == file.path else f" as {other.path}"
                    return f"what run {manifest.made_by.run_id[:8]} published{same} on {manifest.published_at}"
    return ""


def _finding(session: Session, manifest: Manifest, file: FileRecord, sentence: str, whose: str) -> Finding:
    kind = Kind.MISSING if sentence.endswith(": missing") else Kind.CHANGED
    found = "no file" if kind is Kind.MISSING else whose or _found(sentence, file)
    expected = f"{file.size} bytes, sha-256 {file.sha256[:12]}, as run {manifest.made_by.run_id[:8]} published it"
    run = f"run `meso run {session.key} --assets {manifest.asset}`"
    remedy = f"Bring it back from a backup, or move it away and {run}"
    if file.path.endswith(_LABELS):
        remedy = f"If a person curated cells, {run}; else bring it back from a backup, or move it away and run that"
    if kind is Kind.MISSING:
        remedy = f"Run `meso run {session.key} --assets {manifest.asset}`, or bring it back from a backup"
    return Finding(kind, str(session.key), manifest.asset, file.path, expected, found, remedy)


def _found(sentence: str, file: FileRecord) -> str:
    """Say what is there, of a sentence that may say what was expected, too."""
    told = sentence.removeprefix(f"{file.path}: ")
    return f"{told.rpartition(', found ')[2]} bytes" if told.startswith("expected ") else told


def _unread(session: Session, manifest: Manifest, file: FileRecord, why: str) -> Finding:
    remedy = "Give the platform the right to read it, check the disk or the network, then audit again"
    return Finding(
        Kind.UNREAD,
        str(session.key),
        manifest.asset,
        file.path,
        f"{file.size} bytes that can be compared",
        f"could not be read: {why}",
        remedy,
    )


def _doubt(session: Session, manifest: Manifest, sentence: str) -> Finding:
    path, separator, found = sentence.partition(": ")
    remedy = f"Run `meso run {session.key} --assets {manifest.asset}`"
    expected = "what was published"
    return Finding(
        Kind.CHANGED,
        str(session.key),
        manifest.asset,
        path if separator else "",
        expected,
        found if separator else sentence,
        remedy,
    )
