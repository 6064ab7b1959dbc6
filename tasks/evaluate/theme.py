"""Plots as inline SVG, coloured by the page's CSS variables."""

from __future__ import annotations

import io
import re
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

# Placeholders that no theme uses; the SVG's copies become CSS variables, so that light and dark share one plot.
_VARIABLES = {
    "#0a0b01": "var(--ink)",
    "#0a0b02": "var(--muted)",
    "#0a0b03": "var(--line)",
    "#0a0b04": "var(--trained)",
    "#0a0b05": "var(--untrained)",
    "#0a0b06": "var(--hog)",
    "#0a0b07": "var(--bad)",
}
INK, MUTED, LINE, FIRST, SECOND, THIRD, BAD = _VARIABLES
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tritrack",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 10,
    "path.simplify": True,
}


def themed_svg(figure: Figure) -> Markup:
    """The figure as an SVG element for HTML: no XML prologue, no metadata, no date, colours by variable."""
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = sink.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(?:xmlns(?::xlink)?|width|height)="[^"]*"', "", svg.split(">", 1)[0]) + ">" + svg.split(">", 1)[1]
    svg = svg.replace("xlink:href", "href")
    for placeholder, variable in _VARIABLES.items():
        svg = svg.replace(placeholder, variable)
    return Markup(svg)  # made here, from numbers and our own words alone
