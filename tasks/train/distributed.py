"""Embeddings gathered over ranks, gradients summed over ranks.

Every rank computes the loss of the whole global batch from the gathered embeddings, and sends back only
what belongs to its own images; a loss that is a sum over images is summed from each rank's own ones, divided by
the number of all. Parameter gradients therefore *add up* over ranks to those of one process
with the whole batch: they are summed, never averaged, and no factor of the number of ranks appears.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed
from torch.autograd.function import once_differentiable

from tasks.train.order import rank_slice


def gather_pairs(local: torch.Tensor, batch_pairs: int) -> torch.Tensor:
    """Each rank's (2b, E), anchors then positives -> (2B, E) of the global batch, in the same order everywhere."""
    if torch.distributed.get_world_size() == 1:
        return local
    gathered: torch.Tensor = _GatherPairs.apply(local, batch_pairs)  # type: ignore[no-untyped-call]
    return gathered


def is_first_here() -> bool:
    """Whether this is the first rank of its machine: it tells that machine's parent how training goes on."""
    return int(os.environ.get("LOCAL_RANK", torch.distributed.get_rank())) == 0


def sum_gradients(parameters: Iterable[torch.nn.Parameter], loss: torch.Tensor, stop: bool) -> tuple[bool, bool]:
    """Sum the gradients over ranks, in place. Returns (finite, stop), both the same on every rank.

    `finite`: whether each rank's `loss` and all gradients are finite numbers; `stop`: whether any rank asks to stop.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if torch.distributed.get_world_size() == 1:
        return _are_finite([loss.detach(), *gradients]), stop
    told = gradients[0].new_tensor([float(loss.detach()), float(stop)])
    flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), told])
    torch.distributed.all_reduce(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
    return _are_finite([flat]), bool(flat[-1] > 0)


def sum_over_ranks(part: torch.Tensor) -> torch.Tensor:
    """Each rank's part of a sum -> the whole on every rank; its gradient reaches the own part alone."""
    if torch.distributed.get_world_size() == 1:
        return part
    whole: torch.Tensor = _SumOverRanks.apply(part)  # type: ignore[no-untyped-call]
    return whole


def broadcast_bytes(data: bytes, device: torch.device) -> bytes:
    """Rank 0's bytes on every rank."""
    length = torch.tensor([len(data)], dtype=torch.int64, device=device)
    torch.distributed.broadcast(length, src=0)
    block = torch.zeros(int(length), dtype=torch.uint8, device=device)
    if torch.distributed.get_rank() == 0 and data:
        block.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    torch.distributed.broadcast(block, src=0)
    return block.cpu().numpy().tobytes()


def _are_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether no number is infinite or none at all. By least and greatest, which NaN passes into: on a CPU a sixteenth
    of the time of `isfinite`, whose five passes over the gradients of CaffeNet took a seventh of a step."""
    ends = [end for tensor in tensors for end in tensor.aminmax()]
    return bool(torch.stack(ends).isfinite().all())


class _GatherPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: torch.Tensor, batch_pairs: int) -> torch.Tensor:
        rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
        own = rank_slice(batch_pairs, rank, ranks)
        ctx.own, ctx.batch_pairs = own, batch_pairs
        most = -(-batch_pairs // ranks)  # gloo gathers equal shapes only, so the shorter parts are padded
        padded = local.new_zeros(2, most, local.shape[1])
        padded[:, : own.stop - own.start] = local.detach().view(2, -1, local.shape[1])
        parts = [torch.empty_like(padded) for _ in range(ranks)]
        torch.distributed.all_gather(parts, padded)
        sizes = [rank_slice(batch_pairs, other, ranks) for other in range(ranks)]
        whole = torch.cat([part[:, : size.stop - size.start] for part, size in zip(parts, sizes, strict=True)], dim=1)
        return whole.reshape(2 * batch_pairs, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        anchors, positives = gradient.view(2, ctx.batch_pairs, -1)[:, ctx.own]
        return torch.cat([anchors, positives]), None


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        whole = part.detach().clone()
        torch.distributed.all_reduce(whole)
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient
