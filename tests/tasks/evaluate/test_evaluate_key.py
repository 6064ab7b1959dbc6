"""Keys of benchmarks and report: what changes them, and what must not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.inputs import Inputs
from tasks.evaluate.key import key_document, report_document

TRAIN, TRIPLETS, LABELS = "a" * 64, "b" * 64, "c" * 64


def _key(name: str, seed: int = 0, digest: str = LABELS, **fields: object) -> str:
    inputs = Inputs(TRAIN, triplets=TRIPLETS)
    config = EvaluateConfig(**fields)  # type: ignore[arg-type]
    return key_document(name, config, seed, inputs, {"labels": digest}).key


@pytest.mark.parametrize(
    ("field", "value", "changed"),
    [
        ("bootstrap_samples", 200, {"retrieval", "classification"}),
        ("classification_crops_per_video", 9, {"classification"}),
        ("classification_min_visibility", 0.9, {"classification"}),
        ("labels", "elsewhere.parquet", set()),
        ("benchmarks", ("retrieval",), set()),
    ],
)
def test_an_option_changes_the_keys_of_its_benchmarks_only(field: str, value: object, changed: set[str]) -> None:
    for name in ("retrieval", "classification"):
        assert (_key(name) != _key(name, **{field: value})) == (name in changed)


def test_labels_enter_classification_alone() -> None:
    assert _key("retrieval") == _key("retrieval", digest="")
    assert _key("classification") != _key("classification", digest="d" * 64)
    with pytest.raises(ValueError, match=r"evaluate\.labels"):
        _key("classification", digest="")


def test_what_lies_outside_the_root_enters_by_its_contents() -> None:
    digests = {"labels": LABELS, "network": "e" * 64, "supervised": "f" * 64}
    given = [
        Inputs(TRAIN, triplets=TRIPLETS),
        Inputs(network="exported", triplets=TRIPLETS),
        Inputs(TRAIN, triplets=TRIPLETS, supervised="other"),
    ]
    documents = [key_document("retrieval", EvaluateConfig(), 0, inputs, digests) for inputs in given]
    assert len({document.key for document in documents}) == 3
    assert [sorted(document.inputs) for document in documents] == [
        ["train", "triplets"],
        ["network", "triplets"],
        ["supervised", "train", "triplets"],
    ]


def test_benchmarks_have_code_of_their_own_and_unknown_ones_are_named() -> None:
    inputs = Inputs(TRAIN, triplets=TRIPLETS)
    documents = [
        key_document(name, EvaluateConfig(), 0, inputs, {"labels": LABELS}) for name in ("retrieval", "classification")
    ]
    assert documents[0].recipe.code != documents[1].recipe.code
    assert _key("retrieval") != _key("retrieval", seed=1)
    with pytest.raises(ValueError, match="benchmark: 'x' is unknown; choose one of classification"):
        _key("x")


def test_the_report_follows_what_it_shows() -> None:
    first = report_document(0, TRAIN, TRIPLETS, {"retrieval": "1"}, ["x", "y"])
    assert first.key == report_document(0, TRAIN, TRIPLETS, {"retrieval": "1"}, ["y", "x"]).key
    changed = [
        report_document(1, TRAIN, TRIPLETS, {"retrieval": "1"}, ["x", "y"]),
        report_document(0, TRIPLETS, TRIPLETS, {"retrieval": "1"}, ["x", "y"]),
        report_document(0, TRAIN, TRAIN, {"retrieval": "1"}, ["x", "y"]),
        report_document(0, TRAIN, TRIPLETS, {"retrieval": "2"}, ["x", "y"]),
        report_document(0, TRAIN, TRIPLETS, {"retrieval": "1"}, ["x"]),
        report_document(0, TRAIN, TRIPLETS, {"retrieval": "1"}, ["x", "y"], outcomes="z"),
        report_document(0, TRAIN, TRIPLETS, {"retrieval": "1"}, ["x", "y"], audit="z"),
    ]
    assert len({document.key for document in [first, *changed]}) == 8


def test_planning_imports_nothing_heavy() -> None:
    program = (
        "import sys; from tasks.evaluate.key import key_document; from tasks.evaluate.config import EvaluateConfig;"
        "from tasks.evaluate.inputs import Inputs; key_document('retrieval', EvaluateConfig(), 0, Inputs('a'), {});"
        "print(sorted({'torch', 'cv2', 'av', 'sklearn', 'matplotlib', 'jinja2', 'prefect'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
