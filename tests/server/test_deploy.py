"""What server/deploy holds was never run here: no container runtime, no cluster, no GPU. It is held against the schemas
of those who would read it, and against what it names of ours.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from server.cli import COMMANDS
from server.config import Config, Draft, load
from server.health import router

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "server" / "deploy"
KUBERNETES = "1.37"
MANIFESTS = sorted((DEPLOY / "k8s").glob("*.yaml"))


def parts(file: Path) -> list[dict[str, Any]]:
    return [part for part in yaml.safe_load_all(file.read_text(encoding="utf-8")) if part]


def manifests() -> list[dict[str, Any]]:
    return [part for file in MANIFESTS if file.name != "kustomization.yaml" for part in parts(file)]


def pods() -> dict[str, dict[str, Any]]:
    return {
        part["metadata"]["name"]: part["spec"]["template"]["spec"]
        for part in manifests()
        if "template" in part.get("spec", {})
    }


def test_compose_is_as_its_specification_says() -> None:
    schema = json.loads(
        resources.files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json").read_text()
    )
    compose = parts(DEPLOY / "compose.yaml")[0]
    jsonschema.validate(compose, schema)
    for name, service in compose["services"].items():
        assert set(service.get("networks", [])) <= set(compose["networks"])
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], name
        if service["image"] == "endoedge-server":
            assert service["command"][0] in COMMANDS
            assert service["read_only"]
    assert (DEPLOY / compose["x-server"]["build"]["context"] / compose["x-server"]["build"]["dockerfile"]).is_file()
    assert "ports" not in compose["services"]["web"], "the proxy alone is reached from outside"


@pytest.mark.parametrize("part", manifests(), ids=lambda part: f"{part['kind']} {part['metadata']['name']}")
def test_kubernetes_knows_every_field(part: dict[str, Any]) -> None:
    kubernetes_validate.validate(part, KUBERNETES, strict=True)


def test_kustomization_names_every_file() -> None:
    named = parts(DEPLOY / "k8s" / "kustomization.yaml")[0]
    assert sorted([*named["resources"], "kustomization.yaml"]) == [file.name for file in MANIFESTS]


def test_the_manifests_fit_together() -> None:
    known = {(part["kind"], part["metadata"]["name"]) for part in manifests()}
    paths = {route.path for route in router.routes}
    for name, pod in pods().items():
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["args"][0] in COMMANDS
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, name
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert name != "web" or container[probe]["httpGet"]["path"] in paths
        for volume in pod["volumes"]:
            assert "configMap" not in volume or ("ConfigMap", volume["configMap"]["name"]) in known
    for part in manifests():
        if part["kind"] in ("Service", "PodDisruptionBudget"):
            selected = part["spec"]["selector"]
            assert selected.get("matchLabels", selected)["app.kubernetes.io/component"] in pods()
    text = "".join(file.read_text() for file in MANIFESTS)
    assert not re.search(r"kind: Secret\b", text), "secrets are named, and made by who has them"


def test_the_configurations_are_ours(tmp_path: Path) -> None:
    config = load(DEPLOY / "server.toml")
    compose = parts(DEPLOY / "compose.yaml")[0]
    assert list(config.http.proxies) == [one["subnet"] for one in compose["networks"]["inside"]["ipam"]["config"]]
    mapped = next(part for part in manifests() if part["kind"] == "ConfigMap")
    (tmp_path / "server.toml").write_text(mapped["data"]["server.toml"])
    config = load(tmp_path / "server.toml")
    assert isinstance(config, Config)
    assert config.bucket is not None
    assert config.http.port == pods()["web"]["containers"][0]["ports"][0]["containerPort"]
    mounted = {mount["mountPath"] for mount in pods()["web"]["containers"][0]["volumeMounts"]}
    assert {str(Path(config.bucket.key_file).parent), config.data_dir} <= mounted


def test_the_container_takes_what_is_there() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    packages = re.search(r"--no-install-recommends ([^\\]+)\\", text)
    assert packages is not None
    setup = (ROOT / "tools" / "setup.sh").read_text(encoding="utf-8")
    assert all(name in setup for name in packages[1].split() if name.startswith(("libpango", "libharfbuzz")))


def test_the_model_serves_what_a_worker_asks_for() -> None:
    config = parts(DEPLOY / "ray-serve.yaml")[0]
    (application,) = config["applications"]
    (model,) = application["args"]["llm_configs"]
    known = {"model_loading_config", "engine_kwargs", "accelerator_type", "deployment_config"}
    assert set(model) <= known
    assert model["engine_kwargs"]["limit_mm_per_prompt"]["image"] >= Draft().frames_most


def test_ray_reads_it() -> None:
    schema = pytest.importorskip("ray.serve.schema", reason="ray is not installed: half a gigabyte for one file")
    schema.ServeDeploySchema.model_validate(parts(DEPLOY / "ray-serve.yaml")[0])
