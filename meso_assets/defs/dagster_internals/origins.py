"""Where a run comes from, as Dagster's pages see it.

What belongs here: the origin of a run that a process of its own starts. Runs of the interface have one already.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from meso_core.json_text import json_text

#: The one code location of ``workspace.yaml``, and Dagster's name for a repository that nobody has named.
_LOCATION, _REPOSITORY = "meso_assets.definitions", "__repository__"


def job_origin(job: str) -> Any:  # noqa: ANN401  Dagster's
    """Origin of a run of a job, as if the interface had started it: read from the form that Dagster keeps."""
    location = {"__class__": "RegisteredRepositoryLocationOrigin", "location_name": _LOCATION}
    repository = {
        "__class__": "ExternalRepositoryOrigin",
        "repository_location_origin": location,
        "repository_name": _REPOSITORY,
    }
    origin = {"__class__": "ExternalPipelineOrigin", "external_repository_origin": repository, "pipeline_name": job}
    return dg.deserialize_value(json_text(origin))


@contextmanager
def shown_as_any_run(instance: dg.DagsterInstance) -> Iterator[None]:
    """Give runs that this process makes meanwhile the origin of those of the interface.

    The timeline and the history of a job list only runs that have one, and sensors of runs hear only of those.
    """
    create = instance.create_run_for_job

    def created(job_def: dg.JobDefinition, **about: Any) -> dg.DagsterRun:  # noqa: ANN401  Dagster's
        return create(job_def=job_def, **{**about, "remote_job_origin": job_origin(job_def.name)})

    instance.create_run_for_job = created  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del instance.create_run_for_job  # the method of its class again
