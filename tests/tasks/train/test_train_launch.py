"""Training through torchrun: whole, interrupted and resumed, and with nobody left behind."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from storage.keys import JSON, KeyDocument, Recipe
from storage.manifests import Manifest, read_file
from storage.root import Root
from storage.tables import read_table
from tasks.networks.weights import load_network
from tasks.records import METRIC_SCHEMA, Dropped, no_progress
from tasks.train.attempts import checkpoint_paths
from tasks.train.checkpoint import find_checkpoint
from tasks.train.config import TrainConfig
from tasks.train.hearing import Heard
from tasks.train.job import EXIT_LOST
from tasks.train.launch import train_network
from tests.ports import free_port
from tests.tasks.train.conftest import MakeTriplets


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_killed_run_leaves_nobody_and_goes_on_bit_equal(
    root: Root,
    make_triplets: MakeTriplets,
    small_config: TrainConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    triplets = make_triplets(("a", "b", "c", "held_out"))
    # A long run, killed (kill -9 of the parent alone) once it has written its first checkpoint.
    config = small_config.model_copy(update={"steps": 200, "hard_after_step": 50, "checkpoint_every_steps": 10})
    interrupted, whole = _document("interrupted", config, triplets), _document("whole", config, triplets)
    parent = _parent_process(root, triplets, config, interrupted)
    _wait(lambda: bool(checkpoint_paths(root, interrupted.key)) or parent.poll() is not None)
    assert parent.poll() is None, parent.communicate()[1]
    tree = psutil.Process(parent.pid).children(recursive=True)
    assert len(tree) >= 2, "the agent and its rank"
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    _, alive = psutil.wait_procs(tree, timeout=20)
    assert alive == []

    newest = checkpoint_paths(root, interrupted.key)[0]
    step = int(newest.rsplit("/", 1)[1].split("-")[1])
    assert 0 < step < config.steps
    told: list[int] = []
    with caplog.at_level(logging.INFO):
        resumed = train_network(root, triplets, config, interrupted, progress=lambda done, *_: told.append(done))
    assert f"resumed after step {step} of 200" in caplog.text
    assert told[0] > step
    assert told[-1] == config.steps
    assert checkpoint_paths(root, interrupted.key) == []

    uninterrupted = train_network(root, triplets, config, whole)
    assert _bytes(root, resumed, "weights.safetensors") == _bytes(root, uninterrupted, "weights.safetensors")
    assert _bytes(root, resumed, "metrics.parquet") == _bytes(root, uninterrupted, "metrics.parquet")


def test_cancelled_run_writes_a_checkpoint_and_leaves_nobody(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig
) -> None:
    triplets = make_triplets(("a", "b", "c"))
    config = small_config.model_copy(update={"steps": 100_000, "checkpoint_every_steps": 100_000})
    document = _document("cancelled", config, triplets)
    before = set(psutil.Process().children(recursive=True))
    tree: set[psutil.Process] = set()

    def cancel(done: int, total: int, note: str = "") -> None:
        tree.update(psutil.Process().children(recursive=True))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(root, triplets, config, document, progress=cancel)
    assert len(tree - before) >= 2
    assert not any(process.is_running() for process in tree - before)
    assert len(checkpoint_paths(root, document.key)) == 1


def test_objective_with_parameters_goes_on_bit_equal_and_stays_out_of_the_export(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig
) -> None:
    triplets = make_triplets(("a", "b", "c"))
    config = small_config.model_copy(update={"objective": "autoencoder", "context_weight": 0.5, "steps": 40})
    interrupted, whole = _document("interrupted", config, triplets), _document("whole", config, triplets)

    def cancel(done: int, total: int, note: str = "") -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(root, triplets, config, interrupted, progress=cancel)
    checkpoint = find_checkpoint(root, interrupted.key)
    assert checkpoint is not None
    assert 0 < checkpoint.step < config.steps
    assert {name.split(".")[0] for name in checkpoint.objective} == {"pairs", "context"}
    assert checkpoint.objective.keys() == checkpoint.objective_momentum.keys()

    resumed = train_network(root, triplets, config, interrupted)
    uninterrupted = train_network(root, triplets, config, whole)
    for name in ("weights.safetensors", "metrics.parquet"):
        assert _bytes(root, resumed, name) == _bytes(root, uninterrupted, name)
    network, _ = load_network(root, resumed)
    assert not any(name.startswith(("pairs", "context", "objective")) for name in network.state_dict())
    metrics = read_table(root, resumed.files["metrics.parquet"])
    assert metrics["positive_cosine"].null_count == metrics["active_share"].null_count == config.steps
    assert metrics["loss"].null_count == metrics["mean_cosine"].null_count == 0


@pytest.mark.long
def test_two_ranks_of_which_one_is_killed_train_as_two_machines_do(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """In parts, in bfloat16, and with a log too."""
    triplets = make_triplets(("a", "b", "c", "held_out"))
    changes = {"ranks": 2, "pairs_per_batch": 7, "steps": 80, "accumulate": 2, "precision": "bfloat16"}
    config = small_config.model_copy(update={**changes, "best_every_steps": 8, "tensorboard": str(tmp_path / "log")})
    document = _document("ranks", config, triplets)
    killed: list[int] = []

    def kill_one(record: logging.LogRecord) -> bool:
        if not killed and record.getMessage().startswith("checkpoint of step 4 "):
            tree = psutil.Process().children(recursive=True)
            ranks = [child for child in tree if child.cmdline()[-1] == "tasks.train.worker" and not child.children()]
            rank = next(rank for rank in ranks if rank.environ()["RANK"] == "1")
            rank.kill()
            killed.append(rank.pid)
        return True

    with caplog.at_level(logging.INFO), caplog.filtering(kill_one):  # type: ignore[arg-type]
        manifest = train_network(root, triplets, config, document, device="cpu")
    assert "a rank was ended by SIGKILL (out of memory?); all ranks begin again from checkpoint-" in caplog.text
    assert caplog.text.count("resumed after step") == 1
    files = ("weights.safetensors", "network.json", "metrics.parquet", "state.safetensors", "best.safetensors")
    assert set(manifest.files) == set(files)
    assert manifest.facts["skipped_steps"] == 0
    assert len(list((tmp_path / "log" / manifest.key[:16]).iterdir())) == 2, "at each start one rank tells for all"
    assert manifest.counts == {"steps": 80, "pairs": 15}
    assert manifest.facts["network"] == "small"
    network, spec = load_network(root, manifest)
    assert manifest.facts["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert (spec.embedding, spec.input_px, spec.seed) == (16, 32, document.recipe.seed)
    table = read_table(root, manifest.files["metrics.parquet"])
    assert table.schema.names == METRIC_SCHEMA.names
    assert table["step"].to_pylist() == list(range(1, 81))
    assert table["epoch"].to_pylist()[-1] == pytest.approx(80 * 7 / 15)

    # Two machines of one rank each: two parents with agents of their own, which meet on the loopback. Nobody is killed.
    many = config.model_copy(update={"ranks": 1, "machines": 2, "rendezvous": f"127.0.0.1:{free_port()}"})
    together = _document("machines", config, triplets)
    told: dict[int, int] = {}

    def machine(number: int) -> Manifest:
        def note(done: int, total: int, note: str = "") -> None:
            told[number] = done

        return train_network(root, triplets, many, together, device="cpu", progress=note)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(machine, range(2))
    assert first == second
    assert told == {0: 80, 1: 80}, "each parent hears how its machine goes on"
    for name in ("weights.safetensors", "metrics.parquet", "best.safetensors"):
        assert _bytes(root, first, name) == _bytes(root, manifest, name)


@pytest.mark.parametrize("rendezvous", ["", "node0", "node0:", ":29500", "node0:0", "node0:65536", "node0:x"])
def test_machines_need_a_place_to_meet(rendezvous: str) -> None:
    with pytest.raises(ValueError, match=r"train\.rendezvous: .* is no host:port where 2 machines can meet"):
        TrainConfig(machines=2, rendezvous=rendezvous)


def test_ray_chooses_the_machines() -> None:
    with pytest.raises(ValueError, match="Ray chooses the machines"):
        TrainConfig(machines=2, rendezvous="node0:29500", launcher="ray")


def test_a_meeting_place_that_is_not_found_is_told_before_a_process_starts(
    root: Root, small_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*arguments: object, **named: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.delenv("TRITRACK_LOCAL_ADDRESS", raising=False)
    config = small_config.model_copy(update={"machines": 2, "rendezvous": "node0:29500"})
    with pytest.raises(ValueError, match=r"train\.rendezvous: node0:29500 cannot be reached \(.*not known"):
        train_network(root, "0" * 64, config, _document("nowhere", config, ""))
    monkeypatch.setenv("TRITRACK_LOCAL_ADDRESS", "203.0.113.7")
    with pytest.raises(ValueError, match=r"TRITRACK_LOCAL_ADDRESS: no network interface .* 203\.0\.113\.7"):
        train_network(root, "0" * 64, config, _document("nowhere", config, ""))


def test_data_that_cannot_be_trained_on_is_dropped_by_name(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig
) -> None:
    triplets = make_triplets(("a", "a", "held_out"))
    with pytest.raises(Dropped, match="negatives need a second video") as caught:
        train_network(root, triplets, small_config, _document("one", small_config, triplets))
    assert caught.value.reason == "one_video"


def test_failing_rank_gives_its_last_words(root: Root, small_config: TrainConfig) -> None:
    with pytest.raises(RuntimeError, match="run the shard stage first") as caught:
        train_network(root, "0" * 64, small_config, _document("missing", small_config, ""))
    assert "train.restarts" not in str(caught.value), "its own error would only come back"


@pytest.mark.parametrize(
    ("code", "codes", "failure", "died"),
    [
        (1, [-9], "", "a rank was ended by SIGKILL (out of memory?)"),
        (1, [EXIT_LOST, -11], "", "a rank was ended by SIGSEGV"),
        (1, [-1000], "", "a rank was ended by signal 1000"),
        (1, [EXIT_LOST], "", "another rank was lost"),
        (-9, [], "", "the agent of the ranks was ended by SIGKILL (out of memory?)"),
        (1, [1, -9], "ValueError", ""),  # torchrun ends those who wait for the one that failed
        (1, [EXIT_LOST, -15], "ValueError", ""),
        (1, [143], "stopped after step 5", ""),
        (1, [], "", ""),
    ],
)
def test_ranks_begin_again_only_where_none_failed_by_itself(
    code: int, codes: list[JSON], failure: str, died: str
) -> None:
    heard = Heard(no_progress)
    heard.take(json.dumps({"event": "lost", "words": "connection closed by peer"}))
    if failure:
        heard.take(json.dumps({"event": "failed", "words": failure}))
    heard.take(json.dumps({"event": "ended", "codes": codes}))
    assert heard.what_died(code) == died
    assert heard.last_words == failure or not failure


def _document(name: str, config: TrainConfig, triplets: str) -> KeyDocument:
    # `name` stands in the fingerprint's place: equal training under two keys.
    return KeyDocument(
        Recipe("train", 1, 7, config.model_dump(mode="json"), code={"loop": name}), {"triplets": triplets}
    )


def _parent_process(root: Root, triplets: str, config: TrainConfig, document: KeyDocument) -> subprocess.Popen[str]:
    program = (
        "import json, sys\n"
        "from storage.keys import document_from_json\n"
        "from storage.root import open_root\n"
        "from tasks.train.config import TrainConfig\n"
        "from tasks.train.launch import train_network\n"
        "url, triplets, config, document = sys.argv[1:]\n"
        "config, document = TrainConfig.model_validate_json(config), document_from_json(json.loads(document))\n"
        "train_network(open_root(url), triplets, config, document)\n"
    )
    arguments = [root.url, triplets, config.model_dump_json(), json.dumps(document.to_json())]
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def _wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def _bytes(root: Root, manifest: Manifest, name: str) -> bytes:
    return read_file(root, manifest.files[name])
