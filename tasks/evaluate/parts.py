"""Which metrics are of a part, a class or a layer, of what their benchmark's first metric says of all."""

from __future__ import annotations

from collections.abc import Iterable


def head_metrics(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The first metric of each benchmark; `named`: (benchmark, metric) of scores in their order."""
    heads: dict[str, str] = {}
    for benchmark, metric in named:
        heads.setdefault(benchmark, metric)
    return heads


def part_of(metric: str, head: str) -> tuple[str, str] | None:
    """("class" or "layer", its name) of a metric that says of a part what the benchmark's first one says of all.

    "AP car" and "precision@20 car" are of a class; "mAP, conv3" is of a layer.
    """
    starts = [(f"{head}, ", "layer"), *([("AP ", "class")] if head == "mAP" else [])]
    if head.startswith("precision@"):
        starts.append((f"{head} ", "class"))
    for start, kind in starts:
        if metric.startswith(start):
            return kind, metric.removeprefix(start)
    return None
