"""RAFT: the network against torchvision's, weights files, and what a user is told where there are none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tasks.track.estimators.raft import RaftEstimator, make_estimator
from tasks.track.motion import PointQuery
from tasks.track.raft_layers import LARGE, SMALL, RaftSize
from tasks.track.raft_network import Raft, network_of
from tasks.track.raft_weights import WEIGHTS_URL, WEIGHTS_VARIABLE, weights_digest, weights_path
from tests.tasks.track.formula_weights import formula_frames, formula_weights

SIZES = {"small": SMALL, "large": LARGE}
every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)

# Of torchvision 0.29.1's raft_small and raft_large: the SHA-256 of "name shape" of their sorted state, and the flow
# of formula_frames(128, 160) after three updates with formula_weights, at four pixels.
PLACES = ((0, 0), (5, 9), (64, 80), (127, 159))
TORCHVISION = {
    "small": (
        990_162,
        "b52844207e5a43c48b531e21242a63b775b5e556d38eb5545e847e2acf44dd88",
        ((-1.4251, 0.121), (-1.3786, 0.15846), (-0.92066, -1.08406), (-1.90216, -1.97692)),
    ),
    "large": (
        5_257_536,
        "23b50731fc53e26ae87cbca92e0532e4098a7c157a2269509c8f819e7860f434",
        ((-0.12524, 1.12857), (-0.17055, 1.69814), (-0.1085, 2.14258), (0.14887, 0.75624)),
    ),
}


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Threads that share a core wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", SIZES)
def test_the_network_has_torchvisions_parameters_and_gives_its_flow(name: str) -> None:
    number, digest, flow = TORCHVISION[name]
    network = network_of(formula_weights(SIZES[name]))
    assert sum(parameter.numel() for parameter in network.parameters()) == number
    lines = "\n".join(f"{key} {tuple(value.shape)}" for key, value in sorted(network.state_dict().items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == digest
    previous, following = formula_frames(128, 160).chunk(2)
    with torch.inference_mode():
        given = network(previous, following, 3)
    assert given.shape == (1, 2, 128, 160)
    at = [given[0, :, y, x].tolist() for y, x in PLACES]
    np.testing.assert_allclose(at, flow, atol=1e-3)


@every_size
def test_a_batch_gives_what_its_pairs_give_alone(size: RaftSize) -> None:
    network = network_of(formula_weights(size))
    frames = formula_frames(128, 136)
    with torch.inference_mode():
        both = network(frames, frames.flip(0), 2)
        alone = torch.cat([network(frames[:1], frames[1:], 2), network(frames[1:], frames[:1], 2)])
    torch.testing.assert_close(both, alone, atol=1e-3, rtol=0)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_weights_file_of_either_format_loads(
    suffix: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {name: value.to(dtype) for name, value in formula_weights(SMALL).items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(weights, path)
    else:
        save_file(weights, path)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(path))
    before = torch.random.get_rng_state()
    loaded = make_estimator()._network.state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], value.float()) for name, value in weights.items())


def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, ran = tmp_path / "weights.pth", tmp_path / "ran"
    torch.save({"weight": _Touch(ran)}, path)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(path))
    with pytest.raises(ValueError, match=r"weights\.pth: the file holds no weights"):
        make_estimator()
    assert not ran.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 nor these"])
def test_a_file_that_is_no_weights_file_is_refused(
    suffix: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(path))
    with pytest.raises(ValueError, match="the file holds no weights in safetensors or in torch's format") as raised:
        make_estimator()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("saved", [[torch.zeros(2)], {"epoch": 3}])
def test_a_file_of_something_else_is_refused(saved: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(saved, tmp_path / "weights.pth")
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "weights.pth"))
    with pytest.raises(ValueError, match="something else than tensors by name"):
        make_estimator()


def test_weights_of_another_network_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = formula_weights(SMALL)
    weights.pop("feature_encoder.conv.weight")
    save_file(weights, tmp_path / "other.safetensors")
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match=r"other\.safetensors: the weights are not those of torchvision's raft_small"):
        make_estimator()


@pytest.mark.parametrize("environment", [{}, {WEIGHTS_VARIABLE: ""}, {WEIGHTS_VARIABLE: " "}])
def test_absent_weights_are_answered_with_where_to_get_them(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=rf"no weights; download {WEIGHTS_URL} and set {WEIGHTS_VARIABLE}") as raised:
        weights_path(environment)
    assert "\n" not in str(raised.value)


def test_a_path_without_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'.*absent\.pth', which is no file"):
        weights_digest({WEIGHTS_VARIABLE: str(tmp_path / "absent.pth")})


def test_the_digest_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert weights_digest({WEIGHTS_VARIABLE: str(path)}) == expected


@pytest.mark.parametrize(
    ("size", "padded"), [((160, 200), (160, 200)), ((133, 171), (136, 176)), ((64, 40), (128, 128))]
)
def test_frames_are_padded_to_what_the_network_takes(size: tuple[int, int], padded: tuple[int, int]) -> None:
    estimator = RaftEstimator(network_of(formula_weights(SMALL)))
    grey = (np.indices(size).sum(axis=0) * 7 % 256).astype(np.uint8)
    frame = estimator.prepare(grey)
    assert frame.padded == padded
    points = np.array([[3, 4], [20, 30]], np.float32)
    [motion] = estimator.follow([PointQuery(frame, frame, points)])
    assert motion.points.shape == (2, 2)


def test_a_frame_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = Raft.encode

    def counting(network: Raft, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        encoded.append(len(frames))
        return encode(network, frames)

    monkeypatch.setattr(Raft, "encode", counting)
    estimator = RaftEstimator(network_of(formula_weights(SMALL)))
    frames = [estimator.prepare(np.full((128, 128), value, np.uint8)) for value in (10, 20, 30)]
    points = np.array([[50, 60]], np.float32)
    estimator.follow([PointQuery(frames[0], frames[1], points)])
    estimator.follow([PointQuery(frames[1], frames[2], points), PointQuery(frames[0], frames[2], points)])
    assert encoded == [2, 1]


def test_a_large_batch_is_cut_into_what_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.track.estimators import raft

    estimator = RaftEstimator(network_of(formula_weights(SMALL)))
    frames = [estimator.prepare(np.roll(np.tile(np.arange(128, dtype=np.uint8), (128, 1)), k, 1)) for k in range(4)]
    points = np.array([[50, 60], [70, 40]], np.float32)
    queries = [PointQuery(one, other, points) for one, other in pairwise(frames)]
    whole = estimator.follow(queries)
    monkeypatch.setattr(raft, "_MAX_CORRELATIONS", 2 * 2 * 16**4)
    for one, other in zip(whole, estimator.follow(queries), strict=True):
        np.testing.assert_allclose(one.points, other.points, atol=2e-3)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_size
def test_cuda_gives_the_flow_of_the_cpu_within_half_precision(size: RaftSize) -> None:
    network = network_of(formula_weights(size))
    greys = [((frame[0] + 1) * 127).to(torch.uint8).numpy() for frame in formula_frames(128, 160)]
    points = np.random.default_rng(0).uniform(30, 90, (40, 2)).astype(np.float32)
    motions = []
    for device in ("cpu", "cuda"):
        estimator = RaftEstimator(network, device)
        previous, following = map(estimator.prepare, greys)
        motions += estimator.follow([PointQuery(previous, following, points)])
    both = motions[0].found & motions[1].found
    scale = np.linalg.norm(motions[0].points - points, axis=1)
    assert both.mean() > 0.9
    assert np.median((np.linalg.norm(motions[0].points - motions[1].points, axis=1) / scale)[both]) < 0.1


class _Touch:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)
