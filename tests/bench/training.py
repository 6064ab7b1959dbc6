"""`python -m tests.bench.training`: the training loop beside its limit, and two ranks beside one.

The limit is the same network, objective and optimiser on one batch that stays in memory: no reading, no decoding, no
augmentation, no metrics. Each side runs in a process of its own, in turn with the other; steps are timed after the
first few. For the ranks, one takes one core and one thread, two take two cores and one thread each, and the batch
grows with them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.samples import MARGIN, write_samples

_WARM_STEPS = 3
_SHARDS, _EPOCH_BATCHES = 4, 8


@dataclass(frozen=True)
class Case:
    """One network at one size. `least` and `least_ranks` are what the ratio to the limit and that of ranks must be."""

    network: str
    input_px: int
    pairs_per_rank: int
    steps: int
    least: float
    least_ranks: float


CASES = {
    "small": Case("small", 96, 64, 20, 0.85, 1.6),
    "caffenet": Case("caffenet", 227, 8, 6, 0.97, 1.3),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=("step", "ranks"), default=["step", "ranks"])
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "CASE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, case, folder = options.child
        print(json.dumps(measure(what, CASES[case], Path(folder))))
        return 0
    cores = sorted(os.sched_getaffinity(0))
    table = Table(
        "what", "images/s", "beside", "images/s", "ratio", "least", "target",
        title=f"Training, medians of {options.rounds} rounds in turn, {len(cores)} cores", title_justify="left",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="tritrack-bench-training-") as folder:
        for name in options.cases:
            case, place = CASES[name], Path(folder, name)
            place.mkdir()
            pairs = _EPOCH_BATCHES * case.pairs_per_rank
            write_samples(place, pairs, _SHARDS, round(case.input_px * MARGIN))
            what = f"{case.network} {case.input_px} px, {case.pairs_per_rank} pairs a rank"
            if "step" in options.parts:
                sides = (("loop", cores), ("limit", cores))
                table.add_row(what, *_compare(name, place, sides, options.rounds, "one batch in memory", case.least))
            if "ranks" in options.parts:
                sides = (("two ranks", cores[:2]), ("one rank", cores[:1]))
                beside = "one rank, one core"
                table.add_row(
                    f"{what}, 2 ranks", *_compare(name, place, sides, options.rounds, beside, case.least_ranks)
                )
    Console(width=120).print(table)
    return 0


def _compare(
    case: str, folder: Path, sides: tuple[tuple[str, list[int]], ...], rounds: int, beside: str, target: float
) -> list[str]:
    """Cells of a row: the median rates of both sides and that of their ratio in each round."""
    rates = [[_child(what, case, folder, cores) for what, cores in sides] for _ in range(rounds)]
    ours, others = ([pair[side] for pair in rates] for side in (0, 1))
    ratios = [one / other for one, other in zip(ours, others, strict=True)]
    figures = f"{statistics.median(ours):.0f}", beside, f"{statistics.median(others):.0f}"
    return [*figures, f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}", f"{target:.2f}"]


def _child(what: str, case: str, folder: Path, cores: list[int]) -> float:
    """Images a second, measured in a process of its own that is held to these cores."""
    command = [sys.executable, "-m", "tests.bench.training", "--child", what, case, str(folder)]
    threads = len(cores) // 2 if what == "two ranks" else len(cores)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{what} of {case} failed: {done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure(what: str, case: Case, folder: Path) -> float:
    """Images a second of one side."""
    if what == "loop":
        return measure_loop(case, folder)
    if what == "limit":
        return measure_limit(case)
    return measure_ranks(case, folder, 2 if what == "two ranks" else 1)


def measure_loop(case: Case, folder: Path) -> float:
    """Images a second of the loop's steps, in this process, as one rank runs them."""
    import torch.distributed

    from tasks.train.device import resolve_device
    from tasks.train.loop import train

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    times = _time_steps()
    train(_job(case, folder, ranks=1), resolve_device("cpu", 0))
    torch.distributed.destroy_process_group()
    return _rate(case, times)


def measure_limit(case: Case) -> float:
    """Images a second of the same computation on one batch in memory."""
    import torch.distributed

    from tasks.networks.building import build_network
    from tasks.train.negatives import other_groups
    from tasks.train.objectives.building import build_objective
    from tasks.train.objectives.objective import Inputs
    from tasks.train.schedule import make_optimiser

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    config = _config(case, ranks=1)
    network = build_network(config.network, config.embedding, 0)
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    objective = build_objective(config, network, 0)
    optimiser = make_optimiser(network, config, objective)
    pairs, side = config.pairs_per_batch, config.input_px
    images = torch.rand(2 * pairs, 3, side, side).contiguous(memory_format=torch.channels_last)
    allowed = other_groups(torch.arange(pairs))
    times = [time.perf_counter()]
    for step in range(config.steps):
        outcome = objective(network, Inputs(images, slice(0, pairs), allowed, 0, step))
        optimiser.zero_grad()
        outcome.loss.backward()
        optimiser.step()
        times.append(time.perf_counter())
    return _rate(case, times)


def measure_ranks(case: Case, folder: Path, ranks: int) -> float:
    """Images a second of a whole training run through torchrun, from its progress; each rank takes one thread."""
    from storage.root import open_root
    from tasks.train.launch import train_network

    job = _job(case, folder, ranks)
    told: list[tuple[int, float]] = []

    def note(done: int, total: int, note: str = "") -> None:
        told.append((done, time.perf_counter()))

    train_network(
        open_root(job.root),
        job.triplets,
        job.config,
        job.document,
        device="cpu",
        progress=note,
    )
    (first, begun), (last, ended) = next(one for one in told if one[0] >= _WARM_STEPS), told[-1]
    return 2 * case.pairs_per_rank * ranks * (last - first) / (ended - begun)


def _time_steps() -> list[float]:
    """The clock after each step of the loop, which tells its progress after each."""
    from tasks.train import metrics

    times: list[float] = []
    metrics.Metrics.tell_progress = lambda *_: times.append(time.perf_counter())  # type: ignore[method-assign]
    return times


def _rate(case: Case, times: list[float]) -> float:
    """Images a second over the steps after the first ones."""
    kept = times[_WARM_STEPS:]
    return 2 * case.pairs_per_rank * (len(kept) - 1) / (kept[-1] - kept[0])


def _config(case: Case, ranks: int) -> Any:
    from tasks.train.config import TrainConfig

    return TrainConfig(
        network=case.network,
        input_px=case.input_px,
        steps=case.steps + _WARM_STEPS,
        pairs_per_batch=case.pairs_per_rank * ranks,
        ranks=ranks,
    )


def _job(case: Case, folder: Path, ranks: int) -> Any:
    """A job of its own: nothing of an earlier round is found again."""
    import secrets

    from storage.keys import KeyDocument, Recipe
    from tasks.train.job import Job

    document = KeyDocument(Recipe("train", 1), inputs={"round": secrets.token_hex(8)})
    return Job(
        root=str(folder / "root"),
        triplets=(folder / "key").read_text(),
        config=_config(case, ranks),
        document=document,
        device="cpu",
        threads=int(os.environ["OMP_NUM_THREADS"]),
        attempt=secrets.token_hex(4),
        cache=str(folder),
        seen={},
    )


if __name__ == "__main__":
    sys.exit(main())
