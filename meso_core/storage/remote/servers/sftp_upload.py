"""An upload over SFTP that is on its way.

What belongs here: which pieces are sent when, and from where another try goes on. What does not: the calls of SFTP.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from .backend import Sending

_PIECE = 1 << 23
#: Pieces that are on their way at a time.
_PIECES = 2


@dataclass(slots=True)
class Beside:
    """An upload that does not have its final name yet."""

    place: str
    #: Bytes that the server has confirmed.
    done: int = 0
    #: Bytes that are sent at a time: fewer after each cut, so that an upload gets further over any network.
    piece: int = _PIECE
    #: Whether this is another try that continues from there.
    resumed: bool = False
    #: Whether all has arrived.
    whole: bool = False

    def cut(self, least: int) -> None:
        """Record that the connection was cut; the next try sends smaller pieces, of so many bytes at least."""
        self.resumed, self.piece = self.done > 0, max(least, self.piece // 4)


def write_pieces(sending: Sending, state: Beside, write: Callable[[int, bytes], object]) -> None:
    """Write what the server does not have; while a piece is confirmed the next one is on its way, and one is hashed.

    Parameters
    ----------
    sending
        What is sent.
    state
        How far it is; moved on as the server confirms.
    write
        Writes bytes from a position on; may be called by two threads at once.
    """

    def written(begin: int, content: bytes) -> int:
        write(begin, content)
        return len(content)

    def confirm_first() -> None:  # in order: what is done is what another try need not send again
        done = going.popleft().result()
        state.done += done
        sending.confirm(done)

    going: deque[Future[int]] = deque()
    with ThreadPoolExecutor(_PIECES) as pool:
        for begin in range(state.done, max(sending.content.size, 1), state.piece):
            content = sending.piece(begin, state.piece)
            if len(going) == _PIECES:
                confirm_first()
            going.append(pool.submit(written, begin, content))
        while going:
            confirm_first()
