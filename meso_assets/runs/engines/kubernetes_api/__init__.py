"""Kubernetes, as its API server tells of it: jobs made, looked at, ended, and whether it would take one.

What belongs here: calls, what their answers say, and which refusal is whose to mend. What does not: which step is which
job (``executors.kubernetes``).
"""

from __future__ import annotations

from .checks import check_kubernetes
from .cluster import Cluster
from .job_state import StepJob
from .pods import SCRATCH, PodOrder, job_of_step

__all__ = ["SCRATCH", "Cluster", "PodOrder", "StepJob", "check_kubernetes", "job_of_step"]
