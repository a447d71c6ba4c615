"""The settings of the engines that run steps: which one, and what it needs to know.

What belongs here: what a lab may choose of an engine. How each runs a step is in ``executors``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings


class EngineSettings(BaseSettings):
    """Which engine runs the steps; the part of :class:`~meso_assets.runs.settings.MesoSettings` that is about it."""

    executor: Literal["multiprocess", "in_process"] = Field(
        "multiprocess", description="Steps of a run in processes of their own, or all in one."
    )

    @property
    def steps_go_elsewhere(self) -> bool:
        """Whether steps are handed to an engine that gives each what it needs, on any machine."""
        return self.executor not in ("multiprocess", "in_process")
