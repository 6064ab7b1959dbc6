"""`make bench-evaluate`: what a benchmark costs beside the forward passes (and, of fine-tuning, backward ones) alone.

    python -m tests.bench.evaluate [--network caffenet] [--benchmarks voc_retrieval ...] [--data FOLDER]

Both are wall time of the same run, so that whatever else the machine does slows both; the share is what counts. Memory
is the highest of the process so far.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table

from flows.benchmarks import benchmark_units, proposal_units
from storage.root import open_root
from tasks.batch import run_unit
from tasks.evaluate import DATA
from tasks.evaluate.inputs import Inputs
from tasks.networks.exported import exported_files
from tasks.networks.network import Network
from tasks.networks.weights import NetworkSpec, untrained_network
from tasks.presets import RunConfig
from tests.real_data import real_data

SIDES = {"small": 64, "medium": 64, "resnet18": 128, "caffenet": 227}
FOLDERS = {"voc": "voc2007/VOCdevkit/VOC2007", "images": "cifar10", "davis": "davis", "nyu": "nyu"}
SUBSET = {
    "detection_train_images": 40,
    "detection_test_images": 20,
    "detection_proposals": 100,
    "detection_steps": 20,
    "detection_search_px": 200,
    "detection_classifier": "softmax",
}


@dataclass
class Passes:
    """Seconds in the networks; a call within another counts once."""

    seconds: float = 0.0
    depth: int = field(default=0, repr=False)

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            self.depth += 1
            try:
                return function(*arguments, **options)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - started

        return call


@contextmanager
def timed_passes() -> Iterator[Passes]:
    """Every call of a module, of `Network.maps` and `backbone`, and every backward pass is timed."""
    passes = Passes()
    kinds = [Network, *Network.__subclasses__()]
    targets: list[tuple[Any, str]] = [(torch.nn.Module, "__call__"), (torch.Tensor, "backward")]
    targets += [(kind, name) for kind in kinds for name in ("maps", "backbone") if name in vars(kind)]
    with ExitStack() as stack:
        for owner, name in targets:
            stack.enter_context(mock.patch.object(owner, name, passes.timed(getattr(owner, name))))
        yield passes


def main() -> None:
    options = _options()
    console = Console(width=120)
    torch.set_num_threads(options.threads)
    table = Table("benchmark", "seconds", "in the networks", "share", "highest memory, MB")
    table.title = f"{options.network}, {options.threads} threads, subsets of the real data"
    with tempfile.TemporaryDirectory() as folder:
        network = _exported(Path(folder) / "network", options.network)
        for name in options.benchmarks:
            root = open_root(str(Path(folder) / name))
            config = _configured(Path(options.data), name)
            proposals = []
            for unit in proposal_units(config):
                run_unit(root, unit)
                proposals.append(unit.key)
            inputs = Inputs(network=str(network), proposals=tuple(proposals))
            (unit,) = benchmark_units(config, inputs)
            with timed_passes() as passes:
                started = time.perf_counter()
                outcome = run_unit(root, unit, device="cpu")
                seconds = time.perf_counter() - started
            assert not outcome.failure, outcome.failure
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            share = passes.seconds / seconds
            table.add_row(name, f"{seconds:.1f}", f"{passes.seconds:.1f}", f"{share:.2f}", f"{memory:.0f}")
    console.print(table)


def _configured(data: Path, name: str) -> RunConfig:
    subset: Mapping[str, Any] = {key: value for key, value in SUBSET.items() if key.startswith(f"{name}_")}
    folder = {DATA[name]: str(data / FOLDERS[DATA[name]])}
    return RunConfig.model_validate({"evaluate": {"benchmarks": [name], **folder, **subset}})


def _exported(folder: Path, name: str) -> Path:
    """An export whose trained weights are those of another seed: what they are costs nothing."""
    spec = NetworkSpec(name, 128, SIDES[name], 0)
    network = untrained_network(NetworkSpec(name, 128, SIDES[name], 1))
    folder.mkdir()
    for file, content in exported_files(network, spec, {}).items():
        (folder / file).write_bytes(content)
    return folder


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    outside = [name for name, field in DATA.items() if field in FOLDERS]
    parser.add_argument("--benchmarks", nargs="+", choices=outside, default=outside)
    parser.add_argument("--network", choices=SIDES, default="caffenet")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data", default=real_data())
    return parser.parse_args()


if __name__ == "__main__":
    main()
