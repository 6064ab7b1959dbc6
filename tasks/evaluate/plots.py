"""Plots of comparisons as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tasks.evaluate.theme import FIRST, SECOND, STYLE, THIRD, themed_svg

Bounds = tuple[float, float | None, float | None]
"""A share with the ends of its interval."""

DRAWN = ("trained", "untrained", "hog")  # more marks in a row could not be told apart
_COLOURS = {"trained": FIRST, "untrained": SECOND, "hog": THIRD}
_MARKS = {"trained": "o", "untrained": "s", "hog": "D"}
_WIDTH_INCHES, _ROW_INCHES, _FRAME_INCHES = 4.6, 0.3, 0.55


def comparison_plot(
    labels: Sequence[str],
    values: Sequence[Bounds],
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


def precision_recall_plot(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Markup:
    """Precision against recall (each a sequence of shares) by kind of features."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4, 2.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for name, (recall, precision) in curves.items():
            axes.plot(recall, precision, color=_COLOURS[name], linewidth=1.6, label=name)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.0, columnspacing=1)
        return themed_svg(figure)


def parts_plot(labels: Sequence[str], rows: Sequence[Mapping[str, Bounds]]) -> Markup:
    """Shares in percent, a row a part from the top; of each up to three kinds of features, one above the other."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, _FRAME_INCHES + 0.42 * len(labels)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for place, kinds in enumerate(rows):
            for number, (name, (value, low, high)) in enumerate(kinds.items()):
                y, colour = place + 0.22 * (number - (len(kinds) - 1) / 2), _COLOURS[name]
                if low is not None and high is not None:
                    axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=1.8, alpha=0.5)
                shown = name if place == 0 else None
                axes.plot(
                    [100 * value], [y], color=colour, marker=_MARKS[name], markersize=4.5, linestyle="", label=shown
                )
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlabel("%")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.0, columnspacing=1)
        return themed_svg(figure)
