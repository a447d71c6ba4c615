"""bzip2 decompressed by the program lbzip2, where it is installed.

What belongs here: running the program, and not trusting it. It is a fifth faster than Python's bz2 on as many cores,
and reads the single stream of ``tar -cj`` on all cores too.
"""

from __future__ import annotations

import bz2
import fcntl
import os
import shutil
import signal
import subprocess
import threading
import warnings
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import IO

from ...errors import MesoWarning, ProcessingError
from ...machine import cores_at_hand
from .bzip2 import Bzip2Reader
from .reader import ForwardReader, Piece

PROGRAM = "lbzip2"
#: Variables of the environment from which lbzip2 takes further options.
_OPTIONS = ("LBZIP2", "BZIP2", "BZIP")
#: Each takes about 13 MB; one process that cuts pages keeps no more of them busy.
_MOST_WORKERS = 16
#: Fewer, larger portions: Linux gives an unprivileged user pipes of up to 1 MiB.
_PIPE_BYTES = 1 << 20
#: Read and written at a time, so that what is copied is still in the core's cache.
_READ_BYTES = 1 << 18
_MARK_BYTES = 16


def open_reader(path: Path, *, workers: int | None = None, hashed: bool = False) -> ForwardReader:
    """Open a bzip2 file with lbzip2 where it is installed, else with threads.

    Parameters
    ----------
    path
        A bzip2 file of one or many streams.
    workers
        Cores that decompress; by default all.
    hashed
        Whether to hash the compressed bytes too.

    Raises
    ------
    MissingInputError, ArchiveError
        See :class:`~meso_core.archive.codec.reader.ForwardReader`.
    ProcessingError
        While reading, if lbzip2 fails for another reason than the data.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        return Bzip2Reader(path, workers=workers, hashed=hashed)
    try:
        return Lbzip2Reader(path, program=program, workers=workers, hashed=hashed)
    except ProcessingError as error:  # it only takes longer
        warnings.warn(f"{error} This time meso decompresses by itself.", MesoWarning, stacklevel=2)
        return Bzip2Reader(path, workers=workers, hashed=hashed)


class Lbzip2Reader(ForwardReader):
    """Forward-only, file-like reader that decompresses with lbzip2.

    lbzip2 ignores whatever follows a whole stream and is no stream itself, without an error: one flipped bit in the
    header of the second of a thousand streams, and 999 of them are lost. Therefore we send a stream of a few random
    bytes behind the file. If these bytes do not come out last, lbzip2 did not get to the end.

    Parameters
    ----------
    path
        A bzip2 file of one or many streams.
    program
        The executable.
    workers
        Threads that decompress; by default all cores, up to 16.
    hashed
        Whether to hash the compressed bytes too.

    Raises
    ------
    MissingInputError, ArchiveError
        See :class:`~meso_core.archive.codec.reader.ForwardReader`. Of a block that becomes more than 1 MiB, parts come
        before its checksum was compared; the error comes after them, but it comes.
    ProcessingError
        If the program cannot be run; while reading, if it fails for another reason than the data.
    """

    def __init__(self, path: Path, *, program: str = PROGRAM, workers: int | None = None, hashed: bool = False) -> None:
        super().__init__(path, hashed=hashed)
        self._mark = os.urandom(_MARK_BYTES)
        self._unreadable: OSError | None = None
        n_workers = min(workers or cores_at_hand(), _MOST_WORKERS)
        environment = {name: value for name, value in os.environ.items() if name not in _OPTIONS}
        try:
            self._process = subprocess.Popen(
                [program, "-dc", f"-n{n_workers}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment | {"LC_ALL": "C"},
            )
        except OSError as error:
            self._file.close()
            raise self._failed(f"the program {program} does not start: {error.strerror}") from error
        self._in, self._out, self._words = self._pipes()
        self._feeder = threading.Thread(target=self._feed, name="lbzip2 feeder", daemon=True)
        self._feeder.start()

    def close(self) -> None:
        """End the program, whether it is done or not, and close the file."""
        self._process.kill()
        self._process.wait()
        self._feeder.join()  # nobody reads its pipe any more
        self._out.close()
        self._words.close()
        super().close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # more than this user may have: a small pipe is only slower
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return process.stdin, process.stdout, process.stderr

    def _feed(self) -> None:
        """Give lbzip2 the file, and the mark behind it; runs in a thread."""
        try:
            with self._in:
                for data in self._compressed(_READ_BYTES):
                    self._in.write(data)
                self._in.write(bz2.compress(self._mark))
        except BrokenPipeError:
            return  # it ended before the file did: its exit status, or the missing mark, says so
        except OSError as error:
            self._unreadable = error

    def _decode_all(self) -> Generator[Piece, None, None]:
        """Yield what lbzip2 gives, except the last few bytes, which must be the mark."""
        held = b""
        while data := os.read(self._out.fileno(), _READ_BYTES):
            if len(data) < _MARK_BYTES:
                data, held = held + data, b""
            yield held
            yield memoryview(data)[:-_MARK_BYTES]
            held = data[-_MARK_BYTES:]
        self._check_end(held)

    def _check_end(self, last: bytes) -> None:
        """Check that lbzip2 read the file to its end and found it whole."""
        self._feeder.join()
        words = self._words.read().decode(errors="replace").strip().removeprefix(f"{PROGRAM}: stdin: ")
        status = self._process.wait()
        if self._unreadable is not None:
            raise self._damaged(str(self._unreadable)) from self._unreadable
        if status < 0:
            raise self._failed(f"it ended by signal {-status} ({signal.strsignal(-status)})")
        if status > 0 and "data error" not in words and "not a valid bzip2 file" not in words:
            raise self._failed(f"it ended with status {status}: {words}")
        if status > 0:
            raise self._damaged(words)
        if last != self._mark:
            raise self._damaged("other data than bzip2 after a stream")
        if self.bytes_in == 0:
            raise self._damaged("an empty file")

    def _failed(self, what: str) -> ProcessingError:
        return ProcessingError.at(
            self._path,
            expected="lbzip2 to decompress it",
            found=what,
            remedy="Free memory or install lbzip2 again; without lbzip2, meso decompresses by itself",
        )
