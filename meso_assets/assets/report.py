"""Group report: what a person looks at before trusting a session."""

import dagster as dg

from meso_core.qc import worst

from ..defs.catalogue import CATALOGUE
from ..defs.checks import verdict_table
from ..defs.reporting import REPORT_FILE, REPORTS, SUMMARY_FILE, report_inputs
from ..io.metadata import report_metadata
from ..io.resources import Platform
from .session_asset import AssetRun, Product, Result, materialized, session_asset

_QC, _REPORT = CATALOGUE["session_qc"], CATALOGUE["session_report"]


@session_asset(_QC)
def session_qc(context: dg.AssetExecutionContext, platform: Platform) -> Result:
    """Judge what the other assets have published."""
    from meso_core.report import judge_session

    def compute(run: AssetRun) -> Product:
        inputs = report_inputs(run.session, run.seen, _QC, run.settings)
        results = judge_session(inputs, run.settings.limits, run.progress)
        told = {"verdict": worst(results).name, "verdicts": verdict_table(results)}
        return Product(run.stage(), qc=results, metadata=told)

    return materialized(context, platform, _QC, compute)


@session_asset(_REPORT)
def session_report(context: dg.AssetExecutionContext, platform: Platform) -> Result:
    """Make one page of what the other assets have published, and movies beside it."""
    from meso_core.report import make_report

    def compute(run: AssetRun) -> Product:
        inputs = report_inputs(run.session, run.seen, _REPORT, run.settings)
        report, staging = make_report(inputs, progress=run.progress), run.stage()
        staging.write(REPORT_FILE, report.html)
        staging.write(SUMMARY_FILE, report.summary_json().encode())
        for path, movie in report.movies.items():
            staging.write(f"{REPORTS}/{path}", movie)
        return Product(staging, metadata=report_metadata(report, run.session.where(REPORT_FILE)))

    return materialized(context, platform, _REPORT, compute)
