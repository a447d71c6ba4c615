"""What suite2p is asked to do: its settings by name, what somebody chose, and what follows from a session."""

from .from_metadata import Suite2pOptions, suite2p_options
from .genotype import Genotype, get_default_tau
from .overrides import NO_OVERRIDES, Suite2pOverrides, stage_options, torch_device

__all__ = [
    "NO_OVERRIDES",
    "Genotype",
    "Suite2pOptions",
    "Suite2pOverrides",
    "get_default_tau",
    "stage_options",
    "suite2p_options",
    "torch_device",
]
