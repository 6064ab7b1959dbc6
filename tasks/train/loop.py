"""The training loop of one rank, from the first batch to the commit."""

from __future__ import annotations

import itertools
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import torch
import torch.distributed

from storage.manifests import Manifest, commit
from storage.root import Root, open_root
from tasks.networks.building import build_network, num_parameters
from tasks.networks.images import normalise
from tasks.networks.network import Network
from tasks.networks.weights import NetworkSpec, network_files, weights_bytes
from tasks.train.augment import change_colours
from tasks.train.begin import begin, state_bytes
from tasks.train.best import Best
from tasks.train.board import Board, contact_sheet
from tasks.train.checkpoint import Checkpoint, checkpoint_bytes, parse_checkpoint, save_checkpoint
from tasks.train.continuing import STATE
from tasks.train.data import Batch, batch_pairs, iterate_batches
from tasks.train.device import require_precision
from tasks.train.distributed import broadcast_bytes, is_first_here, sum_gradients
from tasks.train.feeding import FedNetwork
from tasks.train.job import Job
from tasks.train.metrics import Metrics
from tasks.train.monitor import Monitor
from tasks.train.negatives import allowed_images
from tasks.train.objectives.building import build_objective
from tasks.train.objectives.objective import Inputs, Objective
from tasks.train.objectives.outcome import Outcome
from tasks.train.order import rank_slice
from tasks.train.randomness import STEP, hashed
from tasks.train.samples import Samples, load_samples
from tasks.train.schedule import learning_rate, make_optimiser, momentum_tensors, restore_momentum, set_learning_rate

BEST = "best.safetensors"
"""A unit's file where `train.best_every_steps` asks for it: weights as in weights.safetensors, of `Best`."""

logger = logging.getLogger(__name__)


class Stopped(Exception):
    """Asked to leave by SIGTERM; the checkpoint of the last whole step is written."""


@dataclass(frozen=True)
class Run:
    """What a rank holds while it trains; `start` is the state that it goes on from, `begun` the clock then."""

    job: Job
    device: torch.device
    root: Root
    table: Samples
    network: Network
    objective: Objective
    optimiser: torch.optim.Optimizer
    start: Checkpoint
    monitor: Monitor
    metrics: Metrics
    best: Best
    board: Board | None
    begun: float

    @property
    def seconds(self) -> float:
        """Of training, over all attempts."""
        return self.start.seconds + time.monotonic() - self.begun


def train(job: Job, device: torch.device) -> Manifest | None:
    """Train to the last step and commit; the process group must be open. Returns rank 0's manifest.

    Raises Dropped for data that cannot be trained on, for a run gone wrong and for a device without the precision,
    Stopped after SIGTERM, ValueError where there are more ranks than pairs in a batch.
    """
    require_precision(job.config.precision, device)
    root = open_root(job.root)
    table = load_samples(root, job)
    ranks = torch.distributed.get_world_size()
    if batch_pairs(job.config, table) < ranks:
        raise ValueError(f"train.ranks: {ranks} ranks cannot share a batch of {batch_pairs(job.config, table)} pairs")
    network = build_network(job.config.network, job.config.embedding, job.document.recipe.seed)
    network.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    num_classes = int(table.groups.max()) + 1
    objective = build_objective(job.config, network, job.document.recipe.seed, num_classes).to(device)
    optimiser = make_optimiser(network, job.config, objective)
    start = _find_start(root, job, network, device)
    network.load_state_dict(network.state_dict() | start.network)
    if start.step:
        logger.info("resumed after step %d of %d", start.step, job.config.steps)
        objective.load_state_dict(start.objective)
        restore_momentum(network, optimiser, start.momentum)
        restore_momentum(objective, optimiser, start.objective_momentum)
    board = _open_board(job, start.step)
    run = Run(
        job=job,
        device=device,
        root=root,
        table=table,
        network=network,
        objective=objective,
        optimiser=optimiser,
        start=start,
        monitor=Monitor(
            job.config, objective.advice, start.collapsed_steps, start.skipped_steps, start.skipped_in_a_row
        ),
        metrics=Metrics(job.config, start.metrics),
        best=start.best,
        board=board,
        begun=time.monotonic(),
    )
    try:
        take_steps(run)
    finally:
        if board is not None:
            board.close()
    table.close()
    return commit_run(run) if torch.distributed.get_rank() == 0 else None


def take_steps(run: Run) -> None:
    """Every step from the start's to the last one, with checkpoints between."""
    config, seed, start = run.job.config, run.job.document.recipe.seed, run.start
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    stop_asked = _listen_for_sigterm()
    batches = iterate_batches(
        run.table, config, seed, cursor=start.cursor, steps=config.steps - start.step, rank=rank, ranks=ranks
    )
    for step, batch in enumerate(batches, start=start.step):  # `step` steps are done
        torch.manual_seed(int(hashed(STEP, seed, step, rank)[0]))  # for networks that draw, such as dropout
        outcome = forward(run, batch, step)
        run.optimiser.zero_grad()
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        parameters = itertools.chain(run.network.parameters(), run.objective.parameters())
        finite, stop = sum_gradients(parameters, outcome.loss, stop_asked())
        rate = learning_rate(config, step)
        done, loss = step + 1, float(outcome.loss.detach())
        if finite:
            set_learning_rate(run.optimiser, rate)
            run.optimiser.step()
            run.monitor.check(done, outcome)
            row = run.metrics.add(done, batch.epoch, outcome, rate)
            show(run, batch, outcome, step, row)
        else:
            logger.warning("step %d is left out: its loss or gradients are no finite numbers", done)
            run.monitor.skip(done)
        if rank == 0:
            run.best.see(config, done, loss if finite else None, run.network)
        if is_first_here():
            run.metrics.tell_progress(done, batch.epoch, loss)
        if done < config.steps and (stop or done % config.checkpoint_every_steps == 0):
            save(run, done)
            if stop:
                raise Stopped(f"stopped after step {done} of {config.steps}")


def forward(run: Run, batch: Batch, step: int) -> Outcome:
    """The outcome of the whole global batch, from this rank's images and what the other ranks tell."""
    outcome: Outcome = run.objective(FedNetwork(run.network, run.job.config), make_inputs(run, batch, step))
    return outcome


def make_inputs(run: Run, batch: Batch, step: int) -> Inputs:
    """What the objective gets of a batch."""
    pixels = torch.from_numpy(batch.images).to(run.device).permute(0, 3, 1, 2).float()
    images = normalise(change_colours(pixels, batch.draws, run.job.config.augment))
    groups = torch.from_numpy(batch.groups).to(run.device)
    far_away = None if batch.far_away is None else torch.from_numpy(batch.far_away).to(run.device)
    return Inputs(
        images=images.contiguous(memory_format=torch.channels_last),
        own=rank_slice(len(batch.groups), torch.distributed.get_rank(), torch.distributed.get_world_size()),
        allowed=allowed_images(groups, far_away),
        seed=run.job.document.recipe.seed,
        step=step,
        labels=groups,
    )


def show(run: Run, batch: Batch, outcome: Outcome, step: int, row: dict[str, float]) -> None:
    """Put a step that was taken on the board, where there is one."""
    if run.board is None:
        return
    if row:
        run.board.tell(row, run.table.views * len(batch.pairs))
    if run.board.wants_sheet(step + 1):
        fed = FedNetwork(run.network, run.job.config)
        run.board.show(step + 1, contact_sheet(fed, make_inputs(run, batch, step), outcome))


def save(run: Run, step: int) -> None:
    """Write the state after `step` steps; rank 0 alone."""
    if torch.distributed.get_rank() == 0:
        path = save_checkpoint(run.root, run.job.attempt, state(run, step), run.job.config.keep_checkpoints)
        logger.info("checkpoint of step %d at %s", step, path)


def state(run: Run, step: int) -> Checkpoint:
    """The run as it stands after `step` steps."""
    return Checkpoint(
        step=step,
        cursor=run.start.cursor + (step - run.start.step) * batch_pairs(run.job.config, run.table),
        key=run.job.document.key,
        seconds=run.seconds,
        collapsed_steps=run.monitor.collapsed_steps,
        network=run.network.state_dict(),
        momentum=momentum_tensors(run.network, run.optimiser),
        metrics=run.metrics.tensor(),
        objective=run.objective.state_dict(),
        objective_momentum=momentum_tensors(run.objective, run.optimiser),
        skipped_steps=run.monitor.skipped_steps,
        skipped_in_a_row=run.monitor.skipped_in_a_row,
        best=run.best,
    )


def commit_run(run: Run) -> Manifest:
    """Commit the unit. Rank 0 does it, since it holds the weights: the parent needs no torch for it."""
    config, document = run.job.config, run.job.document
    spec = NetworkSpec(config.network, config.embedding, config.input_px, document.recipe.seed)
    steps, size = config.steps - run.start.step, batch_pairs(config, run.table)
    images_per_second = run.table.views * size * steps / (time.monotonic() - run.begun)
    facts = {
        **run.job.seen,
        **run.table.facts,
        "network": config.network,
        "parameters": num_parameters(run.network),
        "final_loss": run.metrics.final_loss(),
        "images_per_second": round(images_per_second, 1),
        "skipped_steps": run.monitor.skipped_steps,
    }
    files = {
        **network_files(run.network, spec),
        "metrics.parquet": run.metrics.table(),
        STATE: state_bytes(state(run, config.steps)),
    }
    if run.best.network:
        files[BEST] = weights_bytes(run.best.network)
        facts |= {"best_step": run.best.step, "best_loss": run.best.loss}
    logger.info("trained %d steps, %.0f images/s, final loss %.4f", steps, images_per_second, run.metrics.final_loss())
    return commit(
        run.root,
        document,
        files,
        counts={"steps": config.steps, **run.table.counts},
        facts=facts,
        seconds=run.seconds,
        device=str(run.device),
    )


def _find_start(root: Root, job: Job, network: Network, device: torch.device) -> Checkpoint:
    """What rank 0 finds to begin with, on every rank."""
    if torch.distributed.get_world_size() == 1:
        return begin(root, job.document.key, job.config, network)
    is_first = torch.distributed.get_rank() == 0
    data = checkpoint_bytes(begin(root, job.document.key, job.config, network)) if is_first else b""
    found = parse_checkpoint(broadcast_bytes(data, device))
    assert found is not None, "rank 0 is of this very Tritrack"
    return found


def _open_board(job: Job, step: int) -> Board | None:
    wanted = job.config.tensorboard and torch.distributed.get_rank() == 0
    return Board(job.config, job.document.key, step) if wanted else None


def _listen_for_sigterm() -> Callable[[], bool]:
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    if threading.current_thread() is threading.main_thread():  # Ray trains in another, where none can be heard
        signal.signal(signal.SIGTERM, note)
    return lambda: asked
