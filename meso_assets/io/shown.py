"""What a person reads beside a result, kept once per materialisation.

What belongs here: adding it to the event of the asset alone. What a step returns with its value, and what an IO manager
adds to an output, Dagster keeps with the events of the step too, in each run's records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg


def show_with_asset(context: dg.OutputContext, metadata: Mapping[str, Any]) -> None:
    """Add metadata to the materialisation of the asset whose output is handled, and to no other event.

    An asset function has this in Dagster's public API (``add_asset_metadata``), an IO manager has not. Outside of a
    step that makes the asset, as in a test of the manager alone, the metadata are those of the output.
    """
    try:
        step = context.step_context
    except dg.DagsterInvariantViolationError:
        context.add_output_metadata(dict(metadata))
        return
    if step.assets_def is None:
        context.add_output_metadata(dict(metadata))
    else:
        step.add_asset_metadata(metadata, asset_key=context.asset_key)
