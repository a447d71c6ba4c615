"""A person's verdict on a session: kept with it, and told to Dagster.

What belongs here: the way from the command line and from a job to ``meso_core.review``. What gates make of a verdict is
said there (``archive.gate``, ``alyx.gate``).
"""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from meso_core.errors import SettingsError
from meso_core.qc import Limits, Verdict
from meso_core.storage import Session

from ..io.resources import Platform
from .declare import PEOPLE
from .guard import guarded
from .partitions import session_partitions
from .standing.raw_seen import observe
from .standing.standings import look_at

if TYPE_CHECKING:
    from meso_core.review import PersonVerdict

#: Asset in whose log a verdict is told.
_ASSET = "session_qc"


class PersonConfig(dg.Config):
    """What a person says of a session."""

    says: str = Field(description="`accept`, `reject`, or `note`, which leaves the verdict before it in force.")
    who: str = Field(description="Your name.")
    note: str = Field("", description="Why; not needed to accept a session in which nothing failed.")


def say_of_session(session: Session, says: str, who: str, note: str, limits: Limits) -> "PersonVerdict":
    """Keep what a person says of a session, with the versions of the results that there are now.

    Raises
    ------
    SettingsError
        Without a name, or without a note where one is needed: to reject, to note, and to accept what has failed.
    """
    from meso_core.review import ACCEPT, keep_person_verdict, session_quality

    failed = [one for one in session_quality(session.path, limits).all_results if one.verdict is Verdict.FAIL]
    if says == ACCEPT and failed and not note.strip():
        raise SettingsError.at(
            str(session.key),
            expected="a note that says why it is accepted",
            found=f"none, and {len(failed)} verdicts that failed, {failed[0].check} first",
            remedy="Give the reason with --note",
        )
    versions = {name: manifest.data_version for name, manifest in session.manifests().items()}
    with session.recording() as folder:
        return keep_person_verdict(folder, says, who, note, versions)


@dg.op(
    name="verdict_of_a_person",
    out=dg.Out(dg.Nothing),
    description="Keep with a session that a person accepts or rejects it, or a note. The same as `meso qc set`.",
)
def _verdict_of_a_person(context: dg.OpExecutionContext, platform: Platform, config: PersonConfig) -> None:
    with guarded(context):
        session = platform.session(context.partition_key, context.instance)
        said = say_of_session(session, config.says, config.who, config.note, platform.settings.limits)
        view = look_at(session)
        observe(context.instance, context.partition_key, {PEOPLE: view.people.version}, view.given_shown())
    context.log.info(f"{context.partition_key}: {said.told}")
    context.log_event(
        dg.AssetObservation(
            _ASSET,
            description=said.told,
            partition=context.partition_key,
            metadata={"says": said.says, "who": said.who, "note": said.note, "at": said.at, "version": said.version},
        )
    )


@dg.job(
    partitions_def=session_partitions,
    description="Say whether a session is good: accept, reject, or a note, with your name; no machine changes it.",
)
def judge_session_by_hand() -> None:
    """Keep a person's verdict on one session."""
    _verdict_of_a_person()
