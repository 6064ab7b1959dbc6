"""What is written is read back by stock readers and equals the rendered truth."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import av
import cv2
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from tasks.world.config import WorldConfig
from tasks.world.davis import write_davis
from tasks.world.labels import LABEL_SCHEMA
from tasks.world.nyu import decode_normals, encode_normals, write_nyu
from tasks.world.render import render_video
from tasks.world.voc import is_difficult, write_voc
from tasks.world.write import write_videos

CONFIG = WorldConfig(width=128, height=96, num_frames=17, num_objects=3, cut_probability=1.0)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_videos(tmp_path_factory.mktemp("world"), CONFIG, seed=3, count=2)


def test_videos_decode_to_the_rendered_frames(videos: list[Path]) -> None:
    for index, path in enumerate(videos):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (128, 96, 25)
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        rendered = [frame.image for frame in render_video(CONFIG, 3, index, truth=False)]
        assert len(decoded) == len(rendered) == 17
        for ours, theirs in zip(rendered, decoded, strict=True):
            assert np.abs(ours.astype(float) - theirs).mean() < 8  # half the colour resolution, and crf 18


def test_labels_are_the_boxes_that_can_be_seen(videos: list[Path]) -> None:
    table = pq.read_table(videos[0].parent / "labels.parquet")
    assert table.schema.equals(LABEL_SCHEMA)
    expected = []
    for index, path in enumerate(videos):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        for frame in list(render_video(CONFIG, 3, index, truth=False))[::8]:
            expected += [
                (digest, path.name, frame.index, thing.object, thing.label, *thing.box, np.float32(thing.visibility))
                for thing in frame.objects
                if thing.visibility >= 0.6 and min(thing.box[2:]) >= 16
            ]
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert {row[2] for row in expected} == {0, 8, 16}


def test_a_pool_writes_the_same_bytes_and_leaves_no_process(videos: list[Path], tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_videos(tmp_path, CONFIG, 3, 2, workers=2, progress=lambda done, total, note="": calls.append((done, total)))
    assert contents(tmp_path) == contents(videos[0].parent)
    assert calls == [(0, 2), (1, 2), (2, 2)]
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not [command for command in commands if "spawn_main" in command]


def test_bytes_do_not_depend_on_what_memory_held(tmp_path: Path) -> None:
    """x264 with AVX-512 reads unwritten memory; glibc fills it with a pattern here, other systems ignore that."""
    code = """
import sys
from pathlib import Path
from tasks.world import write
from tasks.world.config import WorldConfig
from tasks.world.render import render_video

config = WorldConfig()
frames = list(render_video(config, 0, 0, truth=False))
write.render_video = lambda *arguments, **options: iter(frames)
for name in sys.argv[1:]:
    write.encode_video(Path(name), config, 0, 0)
"""
    digests = set()
    for pattern in ("0", "165"):
        names = [str(tmp_path / f"{pattern}-{number}.mp4") for number in range(3)]
        environment = {**os.environ, "MALLOC_PERTURB_": pattern}
        subprocess.run([sys.executable, "-c", code, *names], check=True, env=environment)
        digests |= {hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in names}
    assert len(digests) == 1


def test_only_what_is_missing_or_damaged_is_made_again(tmp_path: Path) -> None:
    paths = write_videos(tmp_path, CONFIG, 3, 2)
    whole = contents(tmp_path)
    times = [path.stat().st_mtime_ns for path in paths]
    assert write_videos(tmp_path, CONFIG, 3, 2) == paths
    assert [path.stat().st_mtime_ns for path in paths] == times
    (tmp_path / "world.json").unlink()  # stopped before the end
    paths[1].write_bytes(b"half a vid")
    (tmp_path / f".{paths[1].name}.partial").write_bytes(b"left by a killed run")
    write_videos(tmp_path, CONFIG, 3, 2)
    assert contents(tmp_path) == whole
    assert paths[0].stat().st_mtime_ns == times[0]
    assert paths[1].stat().st_mtime_ns != times[1]
    more = write_videos(tmp_path, CONFIG, 3, 3)
    assert paths[0].stat().st_mtime_ns == times[0]
    assert json.loads((tmp_path / "world.json").read_text())["count"] == 3
    assert more[:2] == paths
    write_videos(tmp_path, replace(CONFIG, num_frames=5), 3, 3)
    assert paths[0].stat().st_mtime_ns != times[0]


def test_pool_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "writer.py"
    script.write_text(
        "from pathlib import Path\n"
        "from tasks.world.config import WorldConfig\n"
        "from tasks.world.write import write_videos\n"
        "if __name__ == '__main__':\n"
        f"    write_videos(Path({str(tmp_path / 'videos')!r}), WorldConfig(64, 48, num_frames=5000), 0, 4, workers=2)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": os.getcwd()})
    children: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("videos/.*.mp4.partial"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len([child for child in children if "spawn_main" in " ".join(child.cmdline())]) == 2
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
    finally:
        for process in children:
            if process.is_running():
                process.kill()
        parent.kill()
        parent.wait()


@pytest.mark.parametrize(("count", "workers", "words"), [(0, 1, "count is 0"), (1, 0, "workers is 0")])
def test_bad_counts_are_refused(tmp_path: Path, count: int, workers: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write_videos(tmp_path, CONFIG, 0, count, workers)
    assert not list(tmp_path.iterdir())


def test_voc_folder_equals_truth(tmp_path: Path) -> None:
    frames = write_voc(tmp_path, CONFIG, seed=1, num_images=(3, 2, 4))
    sets = tmp_path / "ImageSets" / "Main"
    names = {split: (sets / f"{split}.txt").read_text().split() for split in ("train", "val", "trainval", "test")}
    assert names["trainval"] == names["train"] + names["val"] == [f"{number:06d}" for number in range(1, 6)]
    assert names["test"] == ["000006", "000007", "000008", "000009"]
    for name, frame in zip(names["trainval"] + names["test"], frames, strict=True):
        image = cv2.imread(str(tmp_path / "JPEGImages" / f"{name}.jpg"))
        assert np.abs(image[..., ::-1].astype(float) - frame.image).mean() < 6
        root = ElementTree.parse(tmp_path / "Annotations" / f"{name}.xml").getroot()
        assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["128", "96", "3"]
        seen = [thing for thing in frame.objects if thing.box[2]]
        for entry, thing in zip(root.iter("object"), seen, strict=True):
            left, top, right, bottom = (int(entry.findtext(f"bndbox/{side}", "")) for side in _SIDES)
            rows, columns = np.nonzero(frame.mask == thing.object)
            assert (left, right) == (columns.min() + 1, columns.max() + 1)
            assert (top, bottom) == (rows.min() + 1, rows.max() + 1)
            assert entry.findtext("name") == thing.label
            assert entry.findtext("difficult") == str(int(is_difficult(thing)))
    for label in CONFIG.classes:
        for line, frame in zip((sets / f"{label}_test.txt").read_text().splitlines(), frames[5:], strict=True):
            name, state = line.split()
            there = [is_difficult(thing) for thing in frame.objects if thing.label == label and thing.box[2]]
            assert int(state) == (-1 if not there else 0 if all(there) else 1)
            assert len(line) == 9


_SIDES = ("xmin", "ymin", "xmax", "ymax")


def test_davis_folder_equals_truth(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    config = replace(CONFIG, num_frames=4)
    names = write_davis(tmp_path, config, seed=2, count=2)
    assert (tmp_path / "ImageSets/2017/val.txt").read_text().split() == names
    for index, name in enumerate(names):
        frames = list(render_video(replace(config, cut_probability=0.0), 2, index, truth=False))
        masks = sorted((tmp_path / "Annotations/480p" / name).iterdir())
        assert [path.name for path in masks] == ["00000.png", "00001.png", "00002.png", "00003.png"]
        for path, frame in zip(masks, frames, strict=True):
            with image_module.open(path) as image:
                assert image.mode == "P"
                assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
                np.testing.assert_array_equal(np.asarray(image), frame.mask)
            colours = cv2.imread(str(tmp_path / "JPEGImages/480p" / name / f"{path.stem}.jpg"))[..., ::-1]
            assert np.abs(colours.astype(float) - frame.image).mean() < 6
        assert not any(frame.is_cut for frame in frames)


def test_nyu_folder_equals_truth(tmp_path: Path) -> None:
    frames = write_nyu(tmp_path, CONFIG, seed=4, count=2)
    intrinsics = json.loads((tmp_path / "intrinsics.json").read_text())
    for name, frame in zip(("000001", "000002"), frames, strict=True):
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"{name}.png"))[..., ::-1], frame.image)
        depth = cv2.imread(str(tmp_path / f"depth_gt_{name}.png"), cv2.IMREAD_UNCHANGED)
        assert depth.dtype == np.uint16
        np.testing.assert_allclose(depth / 5000, frame.depth, atol=1.01e-4)
        normals, known = decode_normals(cv2.imread(str(tmp_path / f"norm_gt_{name}.png"))[..., ::-1])
        assert known.all()
        np.testing.assert_allclose(normals, frame.normals, atol=0.01)
        values = intrinsics[name]
        assert frame.camera.intrinsics[0, 0] == values["fx"] == values["fy"]
        assert (values["cx"], values["cy"]) == (63.5, 47.5)


def test_normals_are_encoded_as_in_the_real_sample(shared_data: Path) -> None:
    """Published normals of a real room: known ones are of unit length, survive a round trip, and face the camera."""
    image = cv2.imread(str(shared_data / "nyu/nyuv2_samples/norm_gt_000433.png"))
    if image is None:
        pytest.skip("no NYU sample in the real data")
    normals, known = decode_normals(image[..., ::-1])
    assert known.mean() > 0.5
    assert (normals[..., 2][known] < 0.3).mean() > 0.9
    difference = encode_normals(normals)[known].astype(int) - image[..., ::-1][known]
    assert np.quantile(np.abs(difference), 0.9) <= 6
