"""The manifests for Kubernetes: valid by its own schemas, pinned, bounded, and without any privilege."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prefect.utilities.templating import apply_values

from flows.deploy import POOLS
from flows.description import describe_run

_FOLDER = Path(__file__).resolve().parents[2] / "docker" / "kubernetes"
_VERSION = "1.34"
_RAY_FIELDS = {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
_GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "serviceType", "template"}

Document = dict[str, Any]


def _documents() -> list[Document]:
    """Everything that the manifests describe, and the job that the template of a work pool makes."""
    found = [one for path in sorted(_FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]
    return [*found, _job()]


def _job() -> Document:
    """The job of a flow run, as Prefect's worker fills the template in."""
    template = json.loads((_FOLDER / "job-template.json").read_text())
    defaults = {
        name: field["default"] for name, field in template["variables"]["properties"].items() if "default" in field
    }
    values = {**defaults, "name": "run", "command": ["prefect", "flow-run", "execute"], "env": []}
    job: Document = apply_values(template["job_configuration"], values)["job_manifest"]
    return job


def _pods(document: Document) -> Iterator[Document]:
    """The pod templates in a document, whatever its kind."""
    match document["kind"]:
        case "RayCluster":
            groups = [document["spec"]["headGroupSpec"], *document["spec"]["workerGroupSpecs"]]
            yield from (group["template"] for group in groups)
        case "Deployment" | "Job":
            yield document["spec"]["template"]


DOCUMENTS = {f"{one['kind']} {one['metadata'].get('name', 'of a run')}": one for one in _documents()}
PODS = {f"{name} {index}": pod for name, one in DOCUMENTS.items() for index, pod in enumerate(_pods(one))}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_valid_by_the_schemas_of_kubernetes(name: str) -> None:
    document = copy.deepcopy(DOCUMENTS[name])
    if document["kind"] == "RayCluster":  # KubeRay's schema is in no package: its own fields by name, its pods as pods
        groups = [document["spec"]["headGroupSpec"], *document["spec"]["workerGroupSpecs"]]
        assert set(document["spec"]) == _RAY_FIELDS
        assert all(set(group) <= _GROUP_FIELDS for group in groups)
        assert all(isinstance(value, str) for group in groups for value in group["rayStartParams"].values())
        return
    if document["metadata"].get("generateName"):  # Prefect asks for these two in a place where Kubernetes ignores them
        assert [document["spec"]["template"]["spec"].pop(field) for field in ("parallelism", "completions")] == [1, 1]
    kubernetes_validate.validate(document, _VERSION, strict=True)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_valid_pinned_bounded_and_has_no_privilege(name: str) -> None:
    pod = copy.deepcopy(PODS[name])
    for field in ("parallelism", "completions"):
        pod["spec"].pop(field, None)
    kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", **pod}, _VERSION, strict=True)
    spec = pod["spec"]
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert all(volume.keys() == {"name", "emptyDir"} for volume in spec["volumes"]), "nothing of the host"
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"])
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec.get("automountServiceAccountToken") is False or spec["serviceAccountName"] == "tritrack-worker"
    for container in spec["containers"]:
        tag = container["image"].rpartition(":")[2]
        assert tag[0].isdigit(), f"{container['image']} is not pinned to a version"
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys() & container["resources"]["requests"].keys()
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_gpus_are_asked_for_by_the_gpu_nodes_alone() -> None:
    asking = {name for name, pod in PODS.items() if int(_limits(pod).get("nvidia.com/gpu", 0))}
    assert asking == {"RayCluster tritrack 2"}


def test_all_run_one_version_of_tritrack_and_the_ray_that_is_locked() -> None:
    images = {container["image"] for pod in PODS.values() for container in pod["spec"]["containers"]}
    ours = {image for image in images if "/tritrack:" in image}
    assert {image.rpartition("-")[0] for image in ours} == {"registry.example/tritrack:0.1.0"}
    assert {image.rpartition("-")[2] for image in ours} == {"cpu", "gpu"}
    locked = (_FOLDER.parents[1] / "constraints.lock").read_text().splitlines()
    assert f"ray=={DOCUMENTS['RayCluster tritrack']['spec']['rayVersion']}" in locked
    prefect = next(line.partition("==")[2] for line in locked if line.startswith("prefect=="))
    assert images - ours == {f"prefecthq/prefect:{prefect}-python3.11-kubernetes"}


def test_every_work_pool_has_its_worker() -> None:
    containers = DOCUMENTS["Deployment tritrack-worker"]["spec"]["template"]["spec"]["containers"]
    assert sorted(container["args"][-1] for container in containers) == sorted(POOLS.values())
    assert {tuple(container["args"][:-1]) for container in containers} == {
        ("prefect", "worker", "start", "--type", "kubernetes", "--pool")
    }


def test_the_deployments_are_registered_to_run_on_ray() -> None:
    (container,) = DOCUMENTS["Job tritrack-deploy"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["tritrack", "deploy"]
    overrides = [text for option, text in itertools.pairwise(container["args"]) if option == "--set"]
    config = describe_run(root="s3://bucket", overrides=overrides).config
    assert config.execution.runner == "ray"
    nodes = DOCUMENTS["RayCluster tritrack"]["spec"]["workerGroupSpecs"]
    cpus = sum(group["replicas"] * int(_limits(group["template"])["cpu"]) for group in nodes)
    assert config.execution.workers * config.execution.ray_track_cpus <= cpus


def test_no_secret_stands_in_the_manifests() -> None:
    assert set(DOCUMENTS["Secret tritrack"]["stringData"].values()) == {""}


def _limits(pod: Document) -> Document:
    limits: Document = pod["spec"]["containers"][0]["resources"]["limits"]
    return limits
