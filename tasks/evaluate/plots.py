"""Plots of comparisons as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tasks.evaluate.theme import FIRST, SECOND, STYLE, themed_svg

_WIDTH_INCHES, _ROW_INCHES, _FRAME_INCHES = 4.6, 0.3, 0.55


def comparison_plot(
    labels: Sequence[str],
    values: Sequence[tuple[float, float | None, float | None]],
    *,
    num_references: int,
    scale: float,
) -> Markup:
    """Values with their intervals, one line each from the top; the last `num_references` in another colour.

    `scale`: what values are multiplied by for the axis (100: shares as percent).
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, _FRAME_INCHES + _ROW_INCHES * len(labels)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for place, (value, low, high) in enumerate(values):
            colour = SECOND if place >= len(values) - num_references else FIRST
            if low is not None and high is not None:
                axes.plot([scale * low, scale * high], [place, place], color=colour, linewidth=2.2, alpha=0.55)
            axes.plot([scale * value], [place], color=colour, marker="o", markersize=6)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        return themed_svg(figure)
