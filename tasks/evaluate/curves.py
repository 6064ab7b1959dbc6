"""Curves of a training run as inline SVG, coloured by the page's CSS variables."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
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
_INK, _MUTED, _LINE, _FIRST, _SECOND, _THIRD, _BAD = _VARIABLES
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tritrack",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 10,
    "path.simplify": True,
}
_SIZE_INCHES = (4.4, 2.7)  # at phone width its text is still 9 px or more
_MOST_POINTS = 600
COLLAPSE_COSINE = 0.95  # patches this alike on average: the network has stopped telling them apart


@dataclass(frozen=True)
class Curve:
    """One plot: a title, its SVG and what it says in words."""

    title: str
    svg: Markup
    words: str


def training_curves(metrics: pa.Table) -> list[Curve]:
    """Loss, cosines and active share of a train unit's metrics.parquet (METRIC_SCHEMA); empty for no rows."""
    if metrics.num_rows == 0:
        return []
    column = {name: _thinned(metrics[name].to_numpy()) for name in metrics.column_names}
    steps, alike = column["step"], column["mean_cosine"]
    loss, active = column["loss"], column["active_share"]
    # An objective leaves out what it does not have: only the ranking loss has hinges, some have no negatives.
    cosines = {"positives": column["positive_cosine"], "chosen negatives": column["negative_cosine"], "all": alike}
    cosines = {name: values for name, values in cosines.items() if not np.isnan(values).all()}
    compares = len(cosines) > 1  # embeddings, and not features, which are alike from the start
    curves = [
        Curve(
            "Loss",
            _plot(steps, {"loss": loss}, "loss", smooth=True),
            f"{loss[: max(1, len(loss) // 20)].mean():.3f} at the start, "
            f"{loss[-max(1, len(loss) // 20) :].mean():.3f} at the end (means of a twentieth)",
        ),
        Curve(
            "Cosines",
            _plot(steps, cosines, "mean cosine", limit=COLLAPSE_COSINE if compares else None),
            f"all patches end at a mean cosine of {alike[-1]:.2f}" + (_verdict(alike[-1]) if compares else ""),
        ),
    ]
    if not np.isnan(active).all():
        plot = _plot(steps, {"active share": active}, "share above 0", smooth=True, share=True)
        curves.append(Curve("Active hinges", plot, f"{active[-1]:.0%} of the hinges still teach at the end"))
    return curves


def _verdict(alike: float) -> str:
    return ": collapsed" if alike > COLLAPSE_COSINE else f": no collapse (that would be above {COLLAPSE_COSINE})"


def _plot(
    steps: npt.NDArray[np.floating],
    series: Mapping[str, npt.NDArray[np.floating]],
    label: str,
    *,
    smooth: bool = False,
    share: bool = False,
    limit: float | None = None,
) -> Markup:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for (name, values), colour in zip(series.items(), (_FIRST, _SECOND, _THIRD), strict=False):
            _draw(axes, steps, values, name, colour, smooth)
        if limit is not None:
            axes.axhline(limit, color=_BAD, linewidth=1, linestyle=(0, (4, 3)))
            axes.set_ylim(top=1.02)
        if share:
            axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=len(series), handlelength=1.2, columnspacing=1)
        return _themed(figure)


def _draw(
    axes: Axes,
    steps: npt.NDArray[np.floating],
    values: npt.NDArray[np.floating],
    name: str,
    colour: str,
    smooth: bool,
) -> None:
    if not smooth or len(values) < 20:
        axes.plot(steps, values, color=colour, linewidth=1.8, label=name)
        return
    axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
    axes.plot(steps, _running_mean(values, len(values) // 20), color=colour, linewidth=2, label=name)


def _themed(figure: Figure) -> Markup:
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


def _thinned(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """At most _MOST_POINTS evenly spaced points, the last one kept."""
    if len(values) > _MOST_POINTS:
        values = values[np.linspace(0, len(values) - 1, _MOST_POINTS).round().astype(int)]
    return np.asarray(values, np.float64)


def _running_mean(values: npt.NDArray[np.floating], width: int) -> npt.NDArray[np.float64]:
    """Centred means over `width` values on each side, narrower at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    low, high = np.maximum(0, places - width), np.minimum(len(values), places + width + 1)
    return np.asarray((sums[high] - sums[low]) / (high - low), np.float64)
