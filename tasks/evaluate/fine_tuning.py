"""Fine-tuning for detection: a network's convolutions, with new fully connected layers, on warped regions."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from tasks.evaluate.ahead import ahead
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.resuming import Attempts
from tasks.evaluate.warping import Regions, warp_regions
from tasks.evaluate.windows import Windows, draw_step
from tasks.networks.images import to_tensor
from tasks.networks.network import Network
from tasks.records import Progress
from tasks.voc import read_image

_BATCH_REGIONS = 256  # of a pass without gradients
_DECAY = 0.1
_MEAN_STEPS = 100


@dataclass(frozen=True)
class _Head:
    """Widths of fc6 and fc7, and the constants of their first weights; `std` 0 stands for He's."""

    fc6: int
    fc7: int
    std: float = 0.0
    bias: float = 0.0


# Wang and Gupta's head on CaffeNet, with the initialisers of their imagenet_train.prototxt. The others are as wide as
# their few features and CPUs allow.
_HEADS = {"caffenet": _Head(4096, 1024, std=0.005, bias=1.0)}
_SMALL_HEAD = _Head(256, 256)
_SCORES_STD = 0.01  # of the last layer: R-CNN's finetuning prototxt


class RegionClassifier(nn.Module):
    """A network's backbone with fully connected layers fc6 and fc7 of its own and a score for each class.

    The layers are drawn by the seed, the same on top of any weights. Class 0 is the background.
    """

    def __init__(self, network: Network, name: str, num_classes: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.network = network
        head = _HEADS.get(name, _SMALL_HEAD)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA too
            self.fc6 = nn.Linear(network.feature_width, head.fc6)
            self.fc7 = nn.Linear(head.fc6, head.fc7)
            self.scores = nn.Linear(head.fc7, num_classes + 1)
            for layer in (self.fc6, self.fc7):
                std = head.std or math.sqrt(2 / layer.in_features)
                nn.init.normal_(layer.weight, std=std)
                nn.init.constant_(layer.bias, head.bias)
            nn.init.normal_(self.scores.weight, std=_SCORES_STD)
            nn.init.zeros_(self.scores.bias)
        self.dropout = nn.Dropout(dropout)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, F) float32: fc7, behind its ReLU."""
        current = self.network.backbone(images)
        current = self.dropout(functional.relu(self.fc6(current)))
        features: torch.Tensor = self.dropout(functional.relu(self.fc7(current)))
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, C + 1) float32."""
        logits: torch.Tensor = self.scores(self.features(images))
        return logits

    def describe(self, regions: Regions, device: torch.device) -> tuple[npt.NDArray[np.float32], ...]:
        """fc7 (B, F) and the classes' probabilities (B, C + 1) of regions (B, H, W, 3) uint8, without gradients."""
        features, shares = [], []
        with torch.inference_mode():
            for first in range(0, len(regions), _BATCH_REGIONS):
                found = self.features(network_input(regions[first : first + _BATCH_REGIONS], device))
                features.append(found.float().cpu())
                shares.append(self.scores(found).float().softmax(dim=1).cpu())
        return torch.cat(features).numpy(), torch.cat(shares).numpy()


def network_input(regions: Regions, device: torch.device) -> torch.Tensor:
    """Regions as the networks take them, in the layout that convolutions are quick in."""
    return to_tensor(regions).to(device, memory_format=torch.channels_last, non_blocking=True)


def fine_tune(
    models: Mapping[str, RegionClassifier],
    sides_px: Mapping[str, int],
    devkit: Path,
    images: Sequence[Windows],
    config: EvaluateConfig,
    seed: int,
    device: torch.device,
    attempts: Attempts,
    progress: Progress,
) -> dict[str, float]:
    """Train the models in place, side by side on the same regions; the mean loss of the last steps by model.

    A killed run goes on from the newest state in `attempts`, with the regions that come next.

    `sides_px`: the inputs of each. SGD with momentum; biases learn at the network's rate, without decay. Raises
    ValueError, in one line, for a model whose loss is no number any more, and for an image that cannot be read.
    """
    optimisers = {name: _optimiser(model, config) for name, model in models.items()}
    for model in models.values():
        model.train().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    losses = {name: deque[torch.Tensor](maxlen=_MEAN_STEPS) for name in models}
    first, state = attempts.newest()
    if first:
        _restore(models, optimisers, losses, state)
    means: dict[str, float] = {}
    batches = ahead(_batches(devkit, images, sorted(set(sides_px.values())), config, seed, first))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for step, (regions, labels) in enumerate(batches, start=first):
            inputs = {side: network_input(squares, device) for side, squares in regions.items()}
            answers = torch.from_numpy(labels).to(device)
            for name, model in models.items():
                torch.manual_seed(seed + step)  # every model drops the same places
                losses[name].append(_step(model, optimisers[name], inputs[sides_px[name]], answers, config, step))
            done = step + 1
            if done % _MEAN_STEPS == 0 or done == config.detection_steps:
                means = {name: float(torch.stack(list(last)).mean()) for name, last in losses.items()}
                _check(means, done)
            if done % config.detection_checkpoint_every_steps == 0:
                attempts.save(done, _state(models, optimisers, losses))
            progress(done, config.detection_steps, "fine-tuning")
    for model in models.values():
        model.eval()
    return means


def _step(
    model: RegionClassifier,
    optimiser: torch.optim.SGD,
    images: torch.Tensor,
    labels: torch.Tensor,
    config: EvaluateConfig,
    step: int,
) -> torch.Tensor:
    every = config.detection_decay_every_steps
    rate = config.detection_learning_rate * (_DECAY ** (step // every) if every else 1.0)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["relative"]
    loss = functional.cross_entropy(model(images), labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.detach()


def _optimiser(model: RegionClassifier, config: EvaluateConfig) -> torch.optim.SGD:
    """Of three groups: weights; biases, at the network's rate; and scales of normalisations. Weights alone decay."""
    weights, biases, scales = list[nn.Parameter](), list[nn.Parameter](), list[nn.Parameter]()
    for name, parameter in model.named_parameters():
        (biases if name.endswith("bias") else weights if parameter.ndim > 1 else scales).append(parameter)
    groups = [
        {"params": weights, "relative": 1.0, "weight_decay": config.detection_weight_decay},
        {"params": biases, "relative": model.network.bias_rate, "weight_decay": 0.0},
        {"params": scales, "relative": 1.0, "weight_decay": 0.0},
    ]
    kept = [group for group in groups if group["params"]]
    return torch.optim.SGD(kept, lr=config.detection_learning_rate, momentum=config.detection_momentum)


def _state(
    models: Mapping[str, RegionClassifier],
    optimisers: Mapping[str, torch.optim.SGD],
    losses: Mapping[str, deque[torch.Tensor]],
) -> dict[str, torch.Tensor]:
    """Weights, momentum and last losses of every model, by name."""
    state: dict[str, torch.Tensor] = {}
    for kind, model in models.items():
        state[f"{kind}.losses"] = torch.stack(list(losses[kind]))
        for name, parameter in model.named_parameters():
            state[f"{kind}.weights.{name}"] = parameter
            momentum = optimisers[kind].state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:  # layers of the network that the backbone does not pass learn nothing
                state[f"{kind}.momentum.{name}"] = momentum
    return state


def _restore(
    models: Mapping[str, RegionClassifier],
    optimisers: Mapping[str, torch.optim.SGD],
    losses: Mapping[str, deque[torch.Tensor]],
    state: Mapping[str, torch.Tensor],
) -> None:
    for kind, model in models.items():
        losses[kind].extend(state[f"{kind}.losses"].to(next(model.parameters()).device))
        for name, parameter in model.named_parameters():
            with torch.no_grad():
                parameter.copy_(state[f"{kind}.weights.{name}"])
            momentum = state.get(f"{kind}.momentum.{name}")
            if momentum is not None:
                optimisers[kind].state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum)


def _check(means: Mapping[str, float], step: int) -> None:
    if lost := [name for name, mean in means.items() if not math.isfinite(mean)]:
        raise ValueError(
            f"evaluate.detection_learning_rate: fine-tuning of the {lost[0]} network diverged by step {step}; set a "
            "lower one"
        )


def _batches(
    devkit: Path, images: Sequence[Windows], sides_px: Sequence[int], config: EvaluateConfig, seed: int, first: int
) -> Iterator[tuple[dict[int, Regions], npt.NDArray[np.int64]]]:
    """The regions of each step by side of the input, and their labels (B,)."""
    for step in range(first, config.detection_steps):
        squares: dict[int, list[Regions]] = {side: [] for side in sides_px}
        labels = []
        draws = draw_step(images, config.detection_images_per_batch, config.detection_regions_per_batch, seed, step)
        for draw in draws:
            pixels = read_image(devkit, draw.name)
            for side, parts in squares.items():
                regions = warp_regions(pixels, draw.boxes, side)
                regions[draw.mirrored] = regions[draw.mirrored, :, ::-1]
                parts.append(regions)
            labels.append(draw.labels)
        yield {side: np.concatenate(parts) for side, parts in squares.items()}, np.concatenate(labels)
