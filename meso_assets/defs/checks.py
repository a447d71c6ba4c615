"""Asset checks: the verdicts of ``meso_core``, and questions that span several assets.

What belongs here: turning records of :mod:`meso_core.qc` into what Dagster shows. What is asked, and the thresholds,
are in ``meso_core``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from meso_core.errors import MesoError
from meso_core.qc import QCResult, Verdict, check_of, short, worst

from ..io.metadata import table
from .dagster_internals import partitioned_check_spec
from .declare import Declaration

#: Sentences of a check's description.
_MOST_TOLD = 2


def check_specs(declaration: Declaration) -> list[dg.AssetCheckSpec]:
    """Declare the checks of an asset."""
    return [partitioned_check_spec(name, declaration.name, question) for name, question in declaration.checks.items()]


def check_results(declaration: Declaration, results: Iterable[QCResult]) -> list[dg.AssetCheckResult]:
    """Answer every declared check of an asset.

    Raises
    ------
    MesoError
        If a verdict belongs to no declared check: nobody would see it.
    """
    results = tuple(results)
    unknown = sorted({result.check for result in results} - set(declaration.checks))
    if unknown:
        raise MesoError.at(
            f"checks of {declaration.name}",
            expected=f"verdicts on {', '.join(declaration.checks) or 'nothing'}",
            found=", ".join(unknown),
            remedy="Declare the check in meso_assets/defs/catalogue.py",
        )
    return [
        as_check_result(declaration.name, name, [r for r in results if r.check == name]) for name in declaration.checks
    ]


def as_check_result(asset: str, name: str, results: list[QCResult]) -> dg.AssetCheckResult:
    """Make one check result of all verdicts with one name (one per bout or FOV); the worst decides."""
    verdict = worst(results)
    told = _described([r.message for r in results if r.verdict == verdict])
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=verdict == Verdict.PASS,
        severity=dg.AssetCheckSeverity.ERROR if verdict == Verdict.FAIL else dg.AssetCheckSeverity.WARN,
        description=told or "not asked of this session",
        metadata={"verdicts": _by_field(results, told)} if results else {},
    )


def _described(messages: Iterable[str]) -> str:
    """Say what decided; all else is in the table, for Dagster stores a description nine times per session."""
    told = list(dict.fromkeys(messages))
    more = [f"And {len(told) - _MOST_TOLD} more, in the table."] if len(told) > _MOST_TOLD else []
    return "\n".join([*told[:_MOST_TOLD], *more])


def _by_field(results: Sequence[QCResult], description: str) -> dg.MarkdownMetadataValue:
    """Markdown table of the verdicts of one check; sentences that its description does not have stand in it too."""
    is_told = all(r.message in description for r in results)
    rows = [
        f"| {r.fov or '–'} | {'–' if r.is_open else r.verdict.name} | {short(r.value)} | {short(r.threshold)} | "
        f"{check_of(r.check).unit or '–'} |{'' if is_told else f' {r.message} |'}"
        for r in results
    ]
    return table(f"| FOV | verdict | value | threshold | unit |{'' if is_told else ' meaning |'}", rows)


def verdict_table(results: Iterable[QCResult]) -> dg.MarkdownMetadataValue:
    """Markdown table of the verdicts that did not pass; of the others how many, for each stands beside its check."""
    results = tuple(results)
    rows = [
        f"| {r.check} | {r.fov or '–'} | {r.verdict.name} | {short(r.value)} | {short(r.threshold)} | "
        f"{check_of(r.check).unit or '–'} | {r.message} |"
        for r in results
        if r.verdict != Verdict.PASS
    ]
    passed = f"{len(results) - len(rows)} of {len(results)} passed: each is shown with its check, and in the report."
    if not rows:
        return dg.MetadataValue.md(passed)
    shown = table("| check | FOV | verdict | value | threshold | unit | meaning |", rows)
    return dg.MetadataValue.md(f"{shown.value}\n\n{passed}")
