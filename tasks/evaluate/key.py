"""Keys of benchmark units and of the report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from storage.fingerprint import fingerprint
from storage.keys import JSON, KeyDocument, Recipe, digest_json, library_versions
from tasks.configuration import key_parameters
from tasks.evaluate import BENCHMARKS, DATA, OF_PROPOSALS, OF_TRACKS
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.inputs import Entrant, Inputs
from tasks.networks import NETWORKS
from tasks.variants import variant_module

SCHEMA = 2
_PAGES = Path(__file__).with_name("pages")
SHOWN_LIBRARIES = ("tritrack", "torch", "opencv-contrib-python-headless", "av", "scikit-learn", "numpy")
"""What the report names; so they enter its key."""

_SHARED = frozenset({"bootstrap_samples"})
_FEATURE_LIBRARIES = ("numpy", "opencv-contrib-python-headless", "pyarrow", "torch")
_LIBRARIES = {
    "classification": (*_FEATURE_LIBRARIES, "av", "scikit-learn"),
    "detection": (*_FEATURE_LIBRARIES, "defusedxml", "scikit-learn", "scipy"),
    "voc_classification": (*_FEATURE_LIBRARIES, "defusedxml", "scipy"),
    "image_classification": (*_FEATURE_LIBRARIES, "scipy"),
    "voc_retrieval": (*_FEATURE_LIBRARIES, "defusedxml"),
    "propagation": (*_FEATURE_LIBRARIES, "av", "pillow"),
    "normals": (*_FEATURE_LIBRARIES, "scikit-learn"),
}


def key_document(
    name: str, config: EvaluateConfig, seed: int, inputs: Inputs, digests: Mapping[str, str]
) -> KeyDocument:
    """The key document of one benchmark.

    Only the parameters that this benchmark reads enter: the shared ones and those that carry its name. What lies
    outside the root enters by its contents: `digests`, by the field of the configuration, and "network" where an
    exported one is judged. Raises ValueError for an unknown benchmark, or for data that is not named.
    """
    module = variant_module(BENCHMARKS, name, "benchmark")
    parameters = {
        field: value
        for field, value in key_parameters(config).items()
        if field in _SHARED or field.startswith(f"{name}_")
    }
    read: dict[str, JSON] = {"network": digests["network"]} if inputs.network else {"train": inputs.train}
    if name in OF_TRACKS:
        read["triplets"] = inputs.triplets
    for field in filter(None, (DATA.get(name), "supervised" if inputs.supervised else None)):
        if not digests.get(field):
            raise ValueError(f"evaluate.{field}: empty; {name} needs it")
        read[field] = digests[field]
    if name in OF_PROPOSALS:
        read["proposals"] = list(inputs.proposals)
    recipe = Recipe(
        stage="evaluate",
        schema=SCHEMA,
        seed=seed,
        parameters=parameters,
        variant={"benchmark": name},
        code=fingerprint("tasks.evaluate.benchmark:run_benchmark", module, *_network_modules(inputs)),
        libraries=library_versions(*_LIBRARIES.get(name, _FEATURE_LIBRARIES)),
    )
    return KeyDocument(recipe, read)


def ensemble_document(seed: int, bootstrap_samples: int, units: Sequence[str], voc: str) -> KeyDocument:
    """The key document of an ensemble of detection units (keys, in any order); `voc`: the digest of the devkit."""
    recipe = Recipe(
        stage="evaluate",
        schema=SCHEMA,
        seed=seed,
        parameters={"bootstrap_samples": bootstrap_samples},
        variant={"benchmark": "detection ensemble"},
        code=fingerprint("tasks.evaluate.ensemble:run_ensemble"),
        libraries=library_versions("numpy", "pyarrow", "scipy"),
    )
    return KeyDocument(recipe, {"detection": sorted(units), "voc": voc})


def report_document(
    seed: int,
    train: str,
    triplets: str,
    benchmarks: Mapping[str, str],
    tracks: Sequence[str],
    outcomes: str = "",
    audit: str = "",
    network: str = "",
) -> KeyDocument:
    """The key document of the report over finished units (keys).

    `outcomes` is a digest of what else the page shows: the outcomes of sources and videos, failures included.
    `audit`: the unit of the tracker's audit, or empty for a page without one. `network`: the name of the trained one.
    """
    recipe = Recipe(
        stage="evaluate",
        schema=SCHEMA,
        seed=seed,
        variant={"output": "report", "template": _template_digest("report.html.jinja")},
        code=fingerprint("tasks.evaluate.report:write_report", *([NETWORKS[network]] if network else [])),
        libraries=library_versions("jinja2", "matplotlib", *SHOWN_LIBRARIES),
    )
    inputs: dict[str, JSON] = {
        "train": train,
        "triplets": triplets,
        "benchmarks": dict(benchmarks),
        "tracks": digest_json(sorted(tracks)),
        "outcomes": outcomes,
        **({"audit": audit} if audit else {}),
    }
    return KeyDocument(recipe, inputs)


def comparison_document(name: str, base: str, groups: Mapping[str, Sequence[Entrant]]) -> KeyDocument:
    """The key document of a comparison: by group and entrant, the benchmark units (keys) of each seed."""
    template = _template_digest("comparison.html.jinja")
    recipe = Recipe(
        stage="evaluate",
        schema=SCHEMA,
        seed=0,
        variant={"output": "comparison", "name": name, "base": base, "template": template},
        code=fingerprint("tasks.evaluate.comparison:write_comparison"),
        libraries=library_versions("jinja2", "matplotlib", "numpy"),
    )
    compared: dict[str, JSON] = {
        group: [{"label": one.label, "seeds": [dict(seed) for seed in one.seeds], "note": one.note} for one in entrants]
        for group, entrants in groups.items()
    }
    return KeyDocument(recipe, {"groups": compared})


def _network_modules(inputs: Inputs) -> list[str]:
    """The networks whose forward passes, as they are now, make the features; all, where it is not known which."""
    known = inputs.architecture and not inputs.supervised
    return [NETWORKS[inputs.architecture]] if known else list(NETWORKS.values())


def _template_digest(name: str) -> str:
    return hashlib.sha256(b"".join((_PAGES / part).read_bytes() for part in (name, "style.css"))).hexdigest()
