"""A network fed in parts, and in bfloat16."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from storage.root import Root
from storage.tables import read_table
from tasks.networks import NETWORKS
from tasks.networks.building import build_network
from tasks.networks.network import Network, unit_length
from tasks.networks.weights import load_network
from tasks.records import Dropped
from tasks.train.config import TrainConfig
from tasks.train.device import require_precision
from tasks.train.feeding import FedNetwork
from tasks.train.negatives import other_groups
from tasks.train.objectives.ranking import compute_loss
from tests.tasks.train.conftest import MakeTriplets, TrainHere

pytestmark = pytest.mark.usefixtures("alone")


class Drawing(Network):
    """A network that draws random numbers; tells the rows of each pass and whether it kept a graph."""

    feature_width = 6

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(27, 6), nn.Linear(6, 4)
        self.passes: list[tuple[int, bool]] = []

    def backbone(self, images: torch.Tensor) -> torch.Tensor:
        self.passes.append((len(images), torch.is_grad_enabled()))
        return functional.dropout(self.first(images.flatten(1)).tanh(), 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return unit_length(self.last(self.backbone(images)))


def test_both_passes_of_a_part_draw_the_same_numbers() -> None:
    """Against the parts one by one, with everything kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network, images = Drawing().double(), torch.randn(14, 3, 3, 3, dtype=torch.float64)
        torch.manual_seed(5)
        kept = torch.cat([network(part) for part in images.chunk(3)])
        expected = _gradients(network, kept)
        network.passes.clear()
        torch.manual_seed(5)
        fed = FedNetwork(network, TrainConfig(accumulate=3))(images)
        assert network.passes == [(5, True), (5, True), (4, True)]
        assert torch.equal(fed, kept)
        found = _gradients(network, fed)
    assert [rows for rows, _ in network.passes[3:]] == [4, 5, 5]
    for gradient, other in zip(found, expected, strict=True):
        assert gradient.abs().max() > 1e-3
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-14)


def test_parts_take_less_memory(tmp_path: Path) -> None:
    network, images = build_network("small", 16, 1), torch.zeros(256, 3, 32, 32)
    peaks = []
    for parts in (1, 8):
        fed = FedNetwork(network, TrainConfig(accumulate=parts))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            fed(images).sum().backward()
        profile.export_chrome_trace(str(tmp_path / "trace.json"))
        events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        held = [event["args"]["Total Allocated"] for event in events if event.get("name") == "[memory]"]
        peaks.append(max(held) - held[0])
    assert peaks[1] < peaks[0] / 4


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_lies_near_float32_and_gives_float32(name: str) -> None:
    network, images = build_network(name, 16, 1), torch.randn(5, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    for fed in (FedNetwork(network, TrainConfig(precision="bfloat16", accumulate=parts)) for parts in (1, 2)):
        for layer, plain in ((fed, network), (fed.backbone, network.backbone)):
            low, high = layer(images), plain(images)
            assert low.dtype == torch.float32
            assert not torch.equal(low, high)
            assert functional.cosine_similarity(low, high).min() > 0.999
        torch.testing.assert_close(fed(images).norm(dim=1), torch.ones(5), rtol=0, atol=1e-4)
        fed(images)[:, 0].sum().backward()
        assert {parameter.grad.dtype for parameter in network.parameters() if parameter.grad is not None} == {
            torch.float32
        }


def test_a_run_in_parts_and_in_bfloat16_ends_near_the_plain_one_and_learns(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, train_here: TrainHere
) -> None:
    triplets = make_triplets(("a", "b", "c", "d"), pairs=6)
    config = small_config.model_copy(update={"learning_rate": 0.005, "augment": "mirror", "hard_after_step": 99})
    images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    losses, embeddings = {}, dict[str, torch.Tensor]()
    for name, changes in {
        "plain": {},
        "parts": {"accumulate": 3},
        "bfloat16": {"precision": "bfloat16", "accumulate": 2},
    }.items():
        manifest = train_here(triplets, config.model_copy(update=changes))
        losses[name] = read_table(root, manifest.files["metrics.parquet"])["loss"].to_pylist()
        network, _ = load_network(root, manifest)
        assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
        with torch.no_grad():
            embeddings[name] = network(images)
    with torch.no_grad():
        embeddings["fresh"] = build_network("small", 16, 7)(images)
    nearness = {name: float((tensor * embeddings["plain"]).sum(dim=1).min()) for name, tensor in embeddings.items()}
    assert nearness["parts"] > 0.9999
    assert nearness["bfloat16"] > 0.9
    assert nearness["fresh"] < 0.5, "training moved the embeddings farther than the precision does"
    for name, curve in losses.items():
        assert sum(curve[-8:]) < 0.5 * sum(curve[:8]), name


def test_a_device_without_bfloat16_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    require_precision("bfloat16", torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: False)
    for kind in ("cuda", "mps"):
        require_precision("float32", torch.device(kind))
        with pytest.raises(Dropped, match=rf"this {kind} device has no bfloat16; set train.precision=float32"):
            require_precision("bfloat16", torch.device(kind))


def _gradients(network: Network, embeddings: torch.Tensor) -> tuple[torch.Tensor, ...]:
    outcome = compute_loss(embeddings, other_groups(torch.arange(7) % 3), TrainConfig(), seed=0, step=0)
    return torch.autograd.grad(outcome.loss, list(network.parameters()))
