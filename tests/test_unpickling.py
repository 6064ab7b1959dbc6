"""No bytes from storage or from outside are run: nothing in the product loads a pickle or any format that can call."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FILES = sorted(path for package in ("flows", "tasks", "storage") for path in (PROJECT / package).rglob("*.py"))
# What makes objects of bytes, by the module that has it; the exceptions of these modules may be caught.
_LOADERS = {
    "pickle": {"load", "loads", "Unpickler"},
    "cloudpickle": {"load", "loads"},
    "dill": {"load", "loads", "Unpickler"},
    "joblib": {"load"},
    "marshal": {"load", "loads"},
    "shelve": {"open"},
    "pandas": {"read_pickle"},
    "torch.jit": {"load"},
    "torch.hub": {"load", "load_state_dict_from_url"},
    "torch.package": {"PackageImporter"},
    "yaml": {"load", "load_all", "full_load", "unsafe_load"},
    "builtins": {"eval", "exec"},
}


def _faults(source: str) -> Iterator[str]:
    """In words, every place of a module where something may be run that a file says."""
    tree = ast.parse(source)
    names = {name: "builtins." + name for name in _LOADERS["builtins"]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or alias.name.split(".")[0]: (alias.asname and alias.name) or alias.name.split(".")[0]
                for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        module, _, function = _full_name(node, names).rpartition(".")
        if function in _LOADERS.get(module, ()):
            yield f"line {node.lineno}: {module}.{function}"
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            name = _full_name(call.func, names)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name == "torch.load" and given.get("weights_only") != "True":
                yield f"line {call.lineno}: torch.load without weights_only=True"
            if name == "numpy.load" and given.get("allow_pickle", "False") != "False":
                yield f"line {call.lineno}: numpy.load with allow_pickle"


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    """`np.load` as numpy.load, as the module's imports say; nothing for what is no dotted name."""
    if isinstance(node, ast.Attribute):
        before = _full_name(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""


def test_the_product_is_read() -> None:
    assert len(FILES) > 100


@pytest.mark.parametrize("package", ["flows", "tasks", "storage"])
def test_nothing_that_a_file_says_is_run(package: str) -> None:
    found = [
        f"{path.relative_to(PROJECT)}: {fault}"
        for path in FILES
        if path.is_relative_to(PROJECT / package)
        for fault in _faults(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(data)",
        "from pickle import load as read\nread(file)",
        "def f(data):\n    import cloudpickle as c\n    return c.loads(data)",
        "import torch\ntorch.load(path)",
        "from torch import load\nload(path, weights_only=False)",
        "import torch\ntorch.jit.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import joblib\nmap(joblib.load, paths)",
        "eval(text)",
    ],
)
def test_a_loader_is_found(source: str) -> None:
    assert list(_faults(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\ntry:\n    f()\nexcept pickle.UnpicklingError:\n    pass",
        "import torch\ntorch.load(path, map_location='cpu', weights_only=True)",
        "import numpy as np\nnp.load(path)\nnp.load(path, allow_pickle=False)",
        "import yaml\nyaml.safe_load(text)",
        "network.eval()",
        "import safetensors.torch\nsafetensors.torch.load(data)",
        "import json\njson.loads(text)",
    ],
)
def test_what_runs_nothing_is_left_alone(source: str) -> None:
    assert list(_faults(source)) == []
