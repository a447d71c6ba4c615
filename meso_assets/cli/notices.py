"""``meso notices``: to whom notices go, a trial, and the digest as it would be sent."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import click

from ..runs.settings.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..defs.notices.addresses import Address


@click.command("notices")
@click.option("--test", "try_them", is_flag=True, help="Send a message to each address.")
@click.option("--digest", is_flag=True, help="Print the digest as it is now; nothing is sent.")
def command(try_them: bool, digest: bool) -> None:
    """List the addresses that notices go to, by number and kind, and what is on its way.

    Addresses are in MESO_NOTICES (blanks between them) or a file that MESO_NOTICES_FILE names (docs/notices.md).
    """
    from ..defs.notices.addresses import addresses
    from ..defs.notices.digest import gather
    from ..defs.notices.ledger import open_ledger
    from ..io.resources import Platform
    from ..runs.instance import open_instance

    settings = load_settings()
    if digest:
        with open_ledger(settings.home) as ledger, open_instance(settings) as instance:
            found = gather(Platform.open(settings), instance, ledger)
        click.echo(f"{found.subject}\n\n{found.page.text}")
        return
    where = addresses(settings)
    if not where:
        click.echo("no address: notices are off. Name one in MESO_NOTICES or MESO_NOTICES_FILE (docs/notices.md)")
        sys.exit(1 if try_them else 0)
    if try_them:
        _try(where)
        return
    with open_ledger(settings.home) as ledger:
        on_their_way = [(m.subject, len(m.left)) for m in ledger.outbox]
    click.echo("\n".join(map(str, where)))
    for subject, n_left in on_their_way:
        click.echo(f"on its way to {n_left}: {subject}")


def _try(where: Sequence[Address]) -> None:
    from ..defs.notices.addresses import send
    from ..defs.notices.pages import lay_out

    page = lay_out((), f"A trial of notices, sent from {socket.gethostname()}. Failures and the digest come this way.")
    failed = False
    for one in where:
        why = send(one, "meso: a trial", page)
        failed |= bool(why)
        click.echo(f"{one}: {why or 'taken'}")
    if failed:
        sys.exit(1)
