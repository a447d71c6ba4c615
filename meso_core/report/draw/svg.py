"""Plots as SVG inside the page, in one style.

What belongs here: making and writing figures, and the colours that all of them share. What does not: what they show.
Text stays text, in the page's own font; colours of axes follow the page, so that plots are right in the dark too.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours that people with any kind of colour vision tell apart (after Okabe and Ito 2008).
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#a04c86", "#56b4e9"
#: Colours of series, one after the other; violet and brown are the furthest from the others to any kind of vision.
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, "#7818f0", "#604818")
#: Stand for the page's own colours of text, of lines that recede, and of the ground.
INK, FAINT, GROUND = "#010203", "#8a8f98", "#fdfefe"
_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "meso",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}


def plot(
    width: float,
    height: float,
    draw: Callable[[Figure], None],
    name: str,
    alt: str,
    margins: tuple[float, float, float, float] | None = None,
) -> str:
    """Draw a figure and return it as SVG text for the page.

    Parameters
    ----------
    width, height
        Inches.
    draw
        Draws into the empty figure.
    name
        Name within the page; makes the ids inside the SVG its own.
    alt
        What it shows, for who does not see it.
    margins
        Inches left, right, below and above the axes; by default they are found, which takes as long as drawing.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained" if margins is None else None)
        if margins is not None:
            left, right, below, above = margins
            figure.subplots_adjust(left / width, below / height, 1 - right / width, 1 - above / height, hspace=0.14)
        draw(figure)
        figure.patch.set_visible(False)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        # savefig would draw twice
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    return _for_the_page(file.getvalue(), name, alt)


def _for_the_page(svg: str, name: str, alt: str) -> str:
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _own_ids(svg, name)
    svg = re.sub(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", lambda found: _smaller(found[1]), svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"(?<=\d\.\d\d)\d+", "", svg)  # nothing is put in: a third of the time of a group that is kept
    for color, of_page in ((INK, "var(--ink)"), (FAINT, "var(--faint)"), (GROUND, "var(--ground)")):
        svg = svg.replace(color, of_page)
    # attributes know no variables, but styles do
    svg = re.sub(r'(fill|stroke)="(var\([^"]+\))"', r'style="\1: \2"', svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--font)", svg)
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    assert size is not None, "matplotlib writes the size in points"
    svg = svg.replace(size[0], f'class="plot" role="img" aria-label="{escape(alt)}" style="max-width: {size[1]}pt"', 1)
    return re.sub(r' (?:version|xmlns:xlink)="[^"]*"', "", svg, count=2) if "xlink:href" not in svg else svg


def _own_ids(svg: str, name: str) -> str:
    """Keep numbers in place of the ids that are used: some tell of this process, and the page holds many plots."""
    used = dict.fromkeys(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    numbers = {old: f"{name}-{k}" for k, old in enumerate(used)}
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{numbers[found[1]]}"' if found[1] in numbers else "", svg)
    return re.sub(r'(href="#|url\(#)([^")]+)', lambda found: found[1] + numbers[found[2]], svg)


def _smaller(png: str) -> str:
    """Make a WebP of a PNG, both in base64: matplotlib writes four bytes a pixel for grey ones too."""
    from PIL import Image

    from .images import webp_uri

    with Image.open(io.BytesIO(base64.b64decode(png))) as opened:
        has_alpha = opened.mode == "RGBA" and opened.getchannel("A").getextrema() != (255, 255)
        return webp_uri(np.asarray(opened.convert("RGBA" if has_alpha else "RGB")))
