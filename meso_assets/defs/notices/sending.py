"""Notices go out: the sensor that tells of runs and sends again what was not taken, and the job of the digest.

What belongs here: putting messages into the ledger and handing them to the services. A server that is down is a warning
and another try a minute later; no run and no tick fails by it.
"""

import time
from collections.abc import Callable, Sequence

import dagster as dg

from meso_core.errors import MesoError, told

from ...io.resources import Platform
from ...runs.settings.settings import MesoSettings
from ..guard import guarded
from .addresses import Address, addresses, send, wants_notices
from .digest import Digest, gather, iso
from .events import take_news
from .ledger import Ledger, Message, open_ledger
from .texts import subject_of, told_news

#: A tick may take a minute; what is not sent by then goes out in the next one, s.
_SECONDS_OF_A_TICK = 30.0
#: A message that nobody took for so long is given up, s.
_GIVEN_UP_S = 7 * 86_400.0
_OFF = "no address is named (MESO_NOTICES, MESO_NOTICES_FILE)"
#: Told a warning.
Warn = Callable[[str], None]


def tell(instance: dg.DagsterInstance, settings: MesoSettings, warn: Warn) -> int:
    """Put what is new into the ledger, and hand out what is in it; returns the number of messages that were taken.

    Raises
    ------
    BlockingIOError
        If another process hands out just now.
    SettingsError
        If an address does not hold.
    """
    where = addresses(settings)
    with open_ledger(settings.home, wait=False) as ledger:
        n_told = len(ledger.told)
        if news := take_news(instance, ledger):
            ledger.put(subject_of(news), told_news(news, _ui(settings)), [one.id for one in where])
        if len(ledger.told) > n_told or not ledger.file.is_file():  # from its first look on nothing is history
            ledger.save()
        return hand_out(ledger, where, warn)


def hand_out(ledger: Ledger, where: Sequence[Address], warn: Warn) -> int:
    """Send the messages of a ledger, oldest first; each is crossed out as it is taken."""
    until, down, n_taken = time.monotonic() + _SECONDS_OF_A_TICK, set[str](), 0
    for message in list(ledger.outbox):
        message.left = [one.id for one in where if one.id in message.left]
        for one in where:
            if one.id not in message.left or one.id in down or time.monotonic() > until:
                continue
            if why := send(one, message.subject, message.page):
                down.add(one.id)
                warn(f"a notice was not taken by {one}, and is sent again: {why}")
                continue
            message.left.remove(one.id)
            n_taken += 1
            ledger.save()
        if not message.left or _is_given_up(message, warn):
            ledger.outbox.remove(message)
            ledger.save()
    return n_taken


def _is_given_up(message: Message, warn: Warn) -> bool:
    old = time.time() - message.made_at > _GIVEN_UP_S
    if old:
        warn(f"nobody took this notice in a week, and it is given up: {message.subject}")
    return old


def send_digest(platform: Platform, instance: dg.DagsterInstance, warn: Warn) -> Digest:
    """Gather the digest and send it; once a day, whoever asks.

    Raises
    ------
    MesoError
        If the root cannot be listed, or an address does not hold.
    """
    settings = platform.settings
    where, today = addresses(settings), iso(time.time())
    with open_ledger(settings.home) as ledger:
        before = ledger
    found = gather(
        platform, instance, before
    )  # of ten thousand sessions it takes minutes: others have the ledger meanwhile
    with open_ledger(settings.home) as ledger:
        if ledger.digest_at[:10] != today[:10]:
            ledger.put(found.subject, found.page, [one.id for one in where])
            ledger.digest_at, ledger.known, ledger.done = today, found.keys, found.recent
            ledger.save()
        hand_out(ledger, where, warn)
    return found


def _ui(settings: MesoSettings) -> str:
    return f"https://{settings.ui_host_names[0]}" if settings.ui_host_names else ""


def notices_go_out(settings: MesoSettings) -> dg.SensorDefinition:
    """Make the sensor; it is on where an address is named."""
    wanted = wants_notices(settings)

    @dg.sensor(
        name="notices_go_out",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING if wanted else dg.DefaultSensorStatus.STOPPED,
        description=(
            "Tells of runs that failed and of sessions that recovered, by mail or another service, and sends again "
            "what a service did not take. Off unless an address is named (`MESO_NOTICES`)."
        ),
    )
    def look(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
        if not wants_notices(platform.settings):
            return dg.SkipReason(_OFF)
        try:
            n_taken = tell(context.instance, platform.settings, context.log.warning)
        except MesoError as error:
            context.log.warning(f"no notice went out: {told(error)}")
            return dg.SkipReason(told(error))
        except BlockingIOError:
            return dg.SkipReason("another process hands out notices; a minute later again")
        return dg.SkipReason(f"{n_taken} notices went out" if n_taken else "nothing to tell")

    return look


@dg.op(name="digest_sent", out=dg.Out(dg.Nothing), description="Gather the digest of the day and send it.")
def _digest_sent(context: dg.OpExecutionContext, platform: Platform) -> None:
    if not wants_notices(platform.settings):
        context.log.info(_OFF)
        return
    with guarded(context):
        found = send_digest(platform, context.instance, context.log.warning)
    context.log.info(found.subject)


@dg.job(description="Tell once a day what arrived, is done, failed, waits, is stale, and what audits found.")
def daily_digest() -> None:
    """Send the digest."""
    _digest_sent()


def digest_every_morning(settings: MesoSettings) -> dg.ScheduleDefinition:
    """Make the schedule of the digest; it is on where an address is named."""
    wanted = wants_notices(settings)
    return dg.ScheduleDefinition(
        name="digest_every_morning",
        job=daily_digest,
        cron_schedule="0 6 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING if wanted else dg.DefaultScheduleStatus.STOPPED,
        description="The digest of the day, at 06:00 UTC. Off unless an address is named (`MESO_NOTICES`).",
    )
