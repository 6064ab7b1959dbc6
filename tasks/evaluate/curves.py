"""Curves of a training run as inline SVG, coloured by the page's CSS variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tasks.evaluate.theme import BAD, FIRST, SECOND, STYLE, THIRD, themed_svg

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
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for (name, values), colour in zip(series.items(), (FIRST, SECOND, THIRD), strict=False):
            _draw(axes, steps, values, name, colour, smooth)
        if limit is not None:
            axes.axhline(limit, color=BAD, linewidth=1, linestyle=(0, (4, 3)))
            axes.set_ylim(top=1.02)
        if share:
            axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        if len(series) > 1:
            figure.legend(loc="outside upper left", ncols=len(series), handlelength=1.2, columnspacing=1)
        return themed_svg(figure)


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
