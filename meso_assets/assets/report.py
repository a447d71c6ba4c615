"""Group report: what a person looks at before trusting a session."""

import dagster as dg

from ..defs.catalogue import CATALOGUE
from ..defs.reporting import REPORT_FILE, REPORTS, SUMMARY_FILE, report_inputs
from ..io.metadata import report_metadata
from ..io.resources import Platform
from .session_asset import AssetRun, Product, Result, materialized, session_asset

_REPORT = CATALOGUE["session_report"]


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
