"""A process that draws plots, one after the other.

Started by :mod:`meso_core.report.draw.drawers` as ``python -m meso_core.report.draw.worker``, with one end of a pipe.
It receives one :class:`~.plots.Plot` after the other, and sends a :class:`~.plots.Drawn` for each.
What belongs here: this conversation. What does not: who draws what, and what is drawn.
"""

from __future__ import annotations

import gc
import sys
import traceback
import warnings
from multiprocessing.connection import Connection

from ...processes import end_with_parent
from .plots import Drawn, Plot


def main() -> None:
    """Draw until the pipe is closed, or the process that asks ends.

    Arguments of the program: number of that process, and of the pipe's descriptor.
    """
    parent, pipe = map(int, sys.argv[1:])
    end_with_parent(parent)
    _import_all()
    with Connection(pipe) as asks:
        while True:
            try:
                plot: Plot = asks.recv()
            except EOFError:
                return
            asks.send(_drawn(plot))


def _drawn(plot: Plot) -> Drawn:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            svg, problem = plot.svg(), ""
        except Exception as error:  # noqa: BLE001  raised by the process that asked
            svg, problem = "", "".join(traceback.format_exception(error)).rstrip()
    return Drawn(svg, problem, tuple(one.message for one in caught if isinstance(one.message, Warning)))


def _import_all() -> None:
    """Import what drawing needs, while nothing is asked yet; what is imported stays, and is no garbage."""
    import matplotlib.backends.backend_svg
    import matplotlib.figure
    import PIL.WebPImagePlugin

    from . import distributions, place, time_series

    assert all((matplotlib.backends.backend_svg, matplotlib.figure, PIL.WebPImagePlugin))
    assert all((distributions, place, time_series))
    gc.freeze()


if __name__ == "__main__":
    main()
