"""Claims of a run on assets of a session whose root is on a server.

What belongs here: the same as ``claims``, answered by the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from meso_core.errors import StorageError
from meso_core.storage import Session
from meso_core.storage.remote.sessions.claims import RemoteClaims
from meso_core.storage.remote.sessions.store import RemoteStore

from .claims import Claim, Claims, command_id, held, wait


class ClaimsOnServer:
    """What one run claims of one session, as :class:`~meso_assets.defs.running.claims.Claims`."""

    def __init__(self, claims: RemoteClaims) -> None:
        self._claims = claims

    @property
    def run_id(self) -> str:
        """Id of the run, or of the command."""
        return self._claims.run_id

    @property
    def folder(self) -> str:
        """Folder of the claims of all runs."""
        return f"{self._claims.root.url}/{self._claims.folder}"

    def take(self, assets: Collection[str]) -> tuple[Claim, ...]:
        """Claim assets, all or none; returns the claims that are in the way."""
        wanted = set(assets)
        return tuple(
            Claim(asset, holder.run_id, holder.process, holder.command)
            for holder in self._claims.take(wanted)
            for asset in sorted(holder.names & wanted)
        )

    def wait_for(self, assets: Collection[str], tell: Callable[[str], None]) -> None:
        """Claim assets; wait until no other run works on one of them, and tell for whom."""
        wait(lambda: self.take(assets), tell, self.folder)

    def give_back(self, asset: str) -> None:
        """Give an asset back: it is made."""
        with suppress(StorageError):  # it ends by itself
            self._claims.give_back(asset)

    def give_all_back(self) -> None:
        """Give back what is still claimed."""
        with suppress(StorageError):
            self._claims.give_all_back()


def claims_of(session: Session, run_id: str, command: str = "") -> Claims | ClaimsOnServer:
    """Claims of a run, or of a command, on assets of a session, wherever it lies."""
    if isinstance(session.store, RemoteStore):
        return ClaimsOnServer(session.store.claims(session.key, run_id, command))
    return Claims(session.path, run_id, command)


@contextmanager
def kept_away(
    session: Session, assets: Collection[str], command: str, tell: Callable[[str], None] | None = None
) -> Iterator[Claims | ClaimsOnServer]:
    """Keep runs away from assets of a session for a while, wherever it lies; see :func:`~.claims.held`.

    Raises
    ------
    StorageError
        If the session cannot be written; or if a run is at work on one of them, and this must not wait.
    """
    with held(claims_of(session, command_id(command), command), session.where(), assets, tell) as claims:
        yield claims
