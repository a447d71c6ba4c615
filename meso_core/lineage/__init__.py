"""Questions asked of manifests: is all as it was recorded, where does a file come from, what differs.

What belongs here: audit, lineage, comparison. No asset is known by name: what is declared is handed in.
"""

from .audit import AuditedAsset, Materialization, audit_session, changed_facts
from .compare import FileComparison, array_difference, compare_files
from .crate import crate_record, write_crate
from .diff import AssetDifference, RoiMatch, Versions, diff_asset, match_rois, versions_of
from .findings import AuditVerdict, Finding, Kind
from .graph import lineage_svg
from .one_tables import WrittenTables, session_id, write_one_tables
from .results import (
    ResultLineage,
    UsedInput,
    UsedPackage,
    UsedSetting,
    as_text,
    other_settings,
    results_of,
)
from .tracing import Lineage, RawInput, Step, trace
from .verdicts import (
    EARLIER_VERDICTS,
    LAST_VERDICT,
    AuditLine,
    LastAudit,
    accept_findings,
    earlier_verdicts,
    keep_verdict,
    last_audit,
    last_verdict,
    with_accepted,
)

__all__ = [
    "EARLIER_VERDICTS",
    "LAST_VERDICT",
    "AssetDifference",
    "AuditLine",
    "AuditVerdict",
    "AuditedAsset",
    "FileComparison",
    "Finding",
    "Kind",
    "LastAudit",
    "Lineage",
    "Materialization",
    "RawInput",
    "ResultLineage",
    "RoiMatch",
    "Step",
    "UsedInput",
    "UsedPackage",
    "UsedSetting",
    "Versions",
    "WrittenTables",
    "accept_findings",
    "array_difference",
    "as_text",
    "audit_session",
    "changed_facts",
    "compare_files",
    "crate_record",
    "diff_asset",
    "earlier_verdicts",
    "keep_verdict",
    "last_audit",
    "last_verdict",
    "lineage_svg",
    "match_rois",
    "other_settings",
    "results_of",
    "session_id",
    "trace",
    "versions_of",
    "with_accepted",
    "write_crate",
    "write_one_tables",
]
