"""A TCP proxy on loopback that behaves as bad networks do: it cuts, delays, throttles, stalls, and loses answers."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

_LOOPBACK = "127.0.0.1"
_PIECE = 1 << 16


class Proxy:
    """A way to a server on loopback; clients connect to ``port``.

    Parameters
    ----------
    target
        Port of the server.

    Attributes
    ----------
    delay_s
        Wait before each piece of data, in both directions.
    bytes_per_s
        Speed of each direction of each connection; None: as fast as it goes.
    stalled
        Connections stay open, and nothing passes.
    refuses
        New connections are closed at once.
    sent, received
        Bytes that passed to the server, and from it.
    """

    def __init__(self, target: int) -> None:
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.stalled = self.refuses = False
        self.sent = self.received = self.connections = self.cuts = 0
        self._target = target
        self._limits: dict[str, int] = {}
        self._anew: dict[str, int] = {}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((_LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset all connections, as a router does that has forgotten them."""
        with self._lock:
            cut, self._open = self._open, set()
            self.cuts += bool(cut)
        for one in cut:
            _end(one, reset=True)

    def cut_after(self, *, sent: int | None = None, received: int | None = None, again: bool = False) -> None:
        """Cut once, or again and again, when so many more bytes have passed to the server, or from it.

        ``received=0`` loses an answer: what was asked for has been done, and the client does not hear of it.
        """
        with self._lock:
            self._limits = {name: n for name, n in (("sent", sent), ("received", received)) if n is not None}
            self._anew = dict(self._limits) if again else {}

    def close(self) -> None:
        """Close all connections and the port."""
        self.refuses = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            if self.refuses:
                client.close()
                continue
            try:
                server = socket.create_connection((_LOOPBACK, self._target))
            except OSError:  # the server is dead
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
                self.connections += 1
            ways = [(client, server, "sent"), (server, client, "received")]
            threading.Thread(target=self._connect, args=(ways,), daemon=True).start()

    def _connect(self, ways: list[tuple[socket.socket, socket.socket, str]]) -> None:
        """Pass data in both directions until both have ended."""
        threads = [threading.Thread(target=self._pass_on, args=way, daemon=True) for way in ways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock:
            self._open -= {way[0] for way in ways}
        for way in ways:
            _end(way[0])

    def _pass_on(self, source: socket.socket, target: socket.socket, name: str) -> None:
        try:
            while piece := source.recv(_PIECE):
                time.sleep(self.delay_s + (len(piece) / self.bytes_per_s if self.bytes_per_s else 0.0))
                while self.stalled and source in self._open:
                    time.sleep(0.01)
                passed = self._allowed(name, len(piece))
                target.sendall(piece[:passed])
                with self._lock:
                    setattr(self, name, getattr(self, name) + passed)
                if passed < len(piece):
                    self.cut()
                    return
            target.shutdown(socket.SHUT_WR)
        except OSError:  # cut, from whichever side
            for one in (source, target):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _allowed(self, name: str, n: int) -> int:
        """How many of ``n`` bytes may pass before the cut that was asked for."""
        with self._lock:
            left = self._limits.get(name)
            if left is None:
                return n
            if left >= n:
                self._limits[name] = left - n
                return n
            self._limits = dict(self._anew)
            return left


def _end(one: socket.socket, *, reset: bool = False) -> None:
    with suppress(OSError):
        if reset:  # without the polite goodbye
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RD)  # wakes who waits for data
    one.close()
