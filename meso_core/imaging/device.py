"""Where suite2p's kernels run: on the processor or on a GPU.

What belongs here: choosing the device, and naming its class. Registration on a GPU gives other bytes than on a
processor, so the class is part of what a result depends on.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def device_class(settings: Mapping[str, Any]) -> str:
    """Name the kind of device that these settings lead to here, as in ``cpu`` or ``cuda``.

    Parameters
    ----------
    settings
        suite2p's settings, with ``torch_device``: a GPU that is asked for and not there is replaced by the processor.
    """
    wanted = str(settings["torch_device"]).partition(":")[0]
    return wanted if wanted != "cuda" or _has_cuda() else "cpu"


def pick_device(settings: Mapping[str, Any]) -> torch.device:
    """Return the torch device: the wanted one, or the processor where it is not there."""
    import torch

    kind = device_class(settings)
    wanted = str(settings["torch_device"])
    return torch.device(wanted if wanted.startswith(kind) else kind)


@cache
def _has_cuda() -> bool:
    """Ask torch only where NVIDIA's driver is installed: its import takes seconds."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    import torch

    return bool(torch.cuda.is_available())
