"""An executor around another one.

What belongs here: what all of them hand on unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg


class Around(dg.Executor):
    """Has the retries and the dependencies of the executor inside."""

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> Any:  # noqa: ANN401  Dagster's
        """As the one inside has it."""
        return self._inner.retries

    @property
    def step_dependency_config(self) -> Any:  # noqa: ANN401  Dagster's
        """As the one inside has it."""
        return self._inner.step_dependency_config


def around(
    inner: dg.ExecutorDefinition,
    wrap: Callable[[dg.Executor], dg.Executor],
    *,
    name: str | None = None,
    description: str | None = None,
) -> dg.ExecutorDefinition:
    """Define an executor that is configured as the one inside; so it is called and described, if nothing else is said.

    Parameters
    ----------
    inner
        The definition inside.
    wrap
        Puts what is around it around it.
    name, description
        Its own.
    """
    make: Any = inner.executor_creation_fn
    schema: Any = inner.config_schema
    return dg.ExecutorDefinition(
        name=name or inner.name,
        config_schema=schema,
        requirements=inner.get_requirements,
        executor_creation_fn=lambda context: wrap(make(context)),
        description=description or inner.description,
    )
