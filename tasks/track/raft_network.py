"""RAFT (Teed and Deng, ECCV 2020), small and large: networks whose parameters carry torchvision's names.

Torchvision's published weights load, and the flow is torchvision's.
Shapes: B pairs of frames, (H, W) their size in px, (h, w) = (H / 8, W / 8), C channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from tasks.track.raft_layers import LARGE, LEVELS, SMALL, STRIDE, Encoder, MaskPredictor, RaftSize, UpdateBlock

MIN_SIDE_PX = STRIDE * 2**LEVELS  # the coarsest level of the correlations is 2 places wide then
UPDATES = 12  # torchvision's default


def network_of(weights: Mapping[str, torch.Tensor]) -> Raft:
    """The network that the weights fit, small or large, on the CPU in float32 and ready to infer.

    Raises ValueError where they are neither's.
    """
    size = LARGE if "mask_predictor.conv.weight" in weights else SMALL
    with torch.device("meta"):  # no numbers are drawn: the caller's random state stays as it was
        network = Raft(size)
    floats = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    try:
        network.load_state_dict(floats, assign=True)
    except RuntimeError as error:
        raise ValueError("the weights are not those of torchvision's raft_small or raft_large") from error
    return network.eval()


class Raft(nn.Module):
    """Recurrent all-pairs field transforms."""

    def __init__(self, size: RaftSize) -> None:
        super().__init__()
        self.hidden = size.hidden
        self.radius = size.radius
        norm = nn.BatchNorm2d if size.context_norm else None
        self.feature_encoder = Encoder(size.features, size.bottleneck, nn.InstanceNorm2d)
        self.context_encoder = Encoder(size.context, size.bottleneck, norm)
        self.update_block = UpdateBlock(size)
        self.mask_predictor = MaskPredictor(size.hidden) if size.mask else None

    def encode(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames (B, 3, H, W) float32, -1 to 1, to their features and their context: (B, C, h, w) each."""
        return self.feature_encoder(frames), self.context_encoder(frames)

    def flow(
        self, previous: torch.Tensor, following: torch.Tensor, context: torch.Tensor, updates: int = UPDATES
    ) -> torch.Tensor:
        """Features of two frames, and the context of the former, to the flow between them: (B, 2, H, W) float32, px.

        Under autocast the features may be of half precision; correlations and places stay in float32.
        """
        pyramid = _correlations(previous.float(), following.float())
        start = _places(previous)
        places = start
        hidden, context = context[:, : self.hidden].tanh(), context[:, self.hidden :].relu()
        for _ in range(updates):
            looked_up = _look_up(pyramid, places, self.radius)
            hidden, step = self.update_block(hidden, context, looked_up, places - start)
            places = places + step.float()
        flow = places - start
        if self.mask_predictor is None:
            upsampled = F.interpolate(flow, scale_factor=STRIDE, mode="bilinear", align_corners=True)
            return STRIDE * upsampled
        return _upsample(flow, self.mask_predictor(hidden).float())

    def forward(self, previous: torch.Tensor, following: torch.Tensor, updates: int = UPDATES) -> torch.Tensor:
        """Frames (B, 3, H, W) float32, -1 to 1, to the flow from the former to the latter: (B, 2, H, W), px."""
        features, context = self.encode(previous)
        return self.flow(features, self.feature_encoder(following), context, updates)


def _correlations(previous: torch.Tensor, following: torch.Tensor) -> list[torch.Tensor]:
    """Dot products of all pairs of places, (B * h * w, 1, h, w), and the same with the latter halved, 4 levels."""
    batch, channels, height, width = previous.shape
    products = previous.flatten(2).transpose(1, 2) @ following.flatten(2)
    pyramid = [products.view(batch * height * width, 1, height, width) / channels**0.5]
    for _ in range(LEVELS - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def _look_up(pyramid: list[torch.Tensor], places: torch.Tensor, radius: int) -> torch.Tensor:
    """Correlations around places (B, 2, h, w) of the following frame: (B, 4 * (2 * radius + 1) ** 2, h, w)."""
    batch, _, height, width = places.shape
    offsets = torch.arange(-radius, radius + 1, dtype=places.dtype, device=places.device)
    # x runs along the first axis, as in the code that the weights were trained with.
    window = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), dim=-1)
    centres = places.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    looked_up = []
    for level, correlations in enumerate(pyramid):
        at = sample_at(correlations, centres / 2**level + window)
        looked_up.append(at.view(batch, height, width, -1))
    return torch.cat(looked_up, dim=-1).permute(0, 3, 1, 2).contiguous()


def sample_at(pixels: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Read (B, C, H, W) bilinearly at x and y in px, (B, M, N, 2): (B, C, M, N); zero outside."""
    height, width = pixels.shape[-2:]
    side = torch.tensor([width - 1, height - 1], dtype=at.dtype, device=at.device)
    return F.grid_sample(pixels, 2 * at / side - 1, align_corners=True)


def _places(features: torch.Tensor) -> torch.Tensor:
    """x and y of every place: (B, 2, h, w) float32."""
    batch, _, height, width = features.shape
    rows, columns = (torch.arange(side, dtype=torch.float32, device=features.device) for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y]).expand(batch, -1, -1, -1)


def _upsample(flow: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Every px as a convex combination of the 9 nearest places (appendix B); mask: (B, 8 * 8 * 9, h, w)."""
    batch, _, height, width = flow.shape
    shares = mask.view(batch, 1, 9, STRIDE, STRIDE, height, width).softmax(dim=2)
    near = F.unfold(STRIDE * flow, 3, padding=1).view(batch, 2, 9, 1, 1, height, width)
    upsampled = (shares * near).sum(dim=2)
    return upsampled.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, STRIDE * height, STRIDE * width)
