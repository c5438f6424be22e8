"""The files in deploy/: valid by their own validators where these are installed, and in agreement with the server."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from antiphon.cli.flags import parse
from antiphon.cli.serve import Serve
from antiphon.errors import ConfigError
from antiphon.runtime.kernels import compiler
from antiphon.serving.settings import ServerSettings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
UNIT = (DEPLOY / "antiphon.service").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
KUBERNETES = {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
POD = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def tool(name: str) -> str:
    """The path of a program, beside this Python or on the path; the test is skipped without it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)


def instruction(name: str) -> str:
    """The last instruction of that name in the Dockerfile, on one line."""
    lines = re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{name} ")][-1]


def served(*arguments: str) -> Serve:
    """The command that the image runs with these arguments."""
    entry = json.loads(instruction("ENTRYPOINT"))
    assert entry[:2] == ["antiphon", "serve"]
    return parse(Serve, [*entry[2:], *arguments], prog="antiphon serve")


def test_the_dockerfile_is_valid() -> None:
    hadolint = tool("hadolint")
    found = run(hadolint, DEPLOY / "Dockerfile")
    assert (found.returncode, found.stdout) == (0, "")


def test_the_dockerfile_copies_what_is_there_and_what_the_context_has() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if re.match(r"COPY (?!--from)", line)]
    names = [name for line in copied for name in line]
    assert "src" in names and "constraints.txt" in names
    for name in names:
        assert (ROOT / name).exists(), name
        assert any(name == each or name.startswith(f"{each}/") for each in allowed), name


def test_the_image_runs_the_server_as_a_user_without_rights() -> None:
    assert instruction("USER") == "10001:10001"
    settings = ServerSettings(**served("/models/demo").server)
    assert settings.host == "0.0.0.0"
    assert instruction("EXPOSE") == str(settings.port)
    assert f"http://127.0.0.1:{settings.port}/health" in instruction("HEALTHCHECK")
    cache = re.search(r"XDG_CACHE_HOME=(\S+)", DOCKERFILE)
    assert cache is not None
    assert f"install --directory --owner antiphon --group antiphon --mode 0700 {cache[1]}" in DOCKERFILE


def test_the_stages_have_the_same_python() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(set(images)) == 1, "a virtual environment works with its own Python alone"
    version = re.match(r"python:(\d+\.\d+)-slim", images[0])
    assert version is not None
    assert set(re.findall(r"lib/python([\d.]+)/", DOCKERFILE)) == {version[1]}


def test_the_kernels_are_compiled_where_a_container_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiler._cache_folder() == tmp_path / "antiphon"
    writable = {mount.partition(":")[0] for mount in COMPOSE["services"]["antiphon"]["tmpfs"]}
    cache = re.search(r"XDG_CACHE_HOME=(\S+)", DOCKERFILE)
    assert cache is not None
    assert writable == {cache[1], "/tmp"}
    assert {mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")} == writable
    (mount,) = [mount for mount in COMPOSE["services"]["antiphon"]["tmpfs"] if mount.startswith(cache[1])]
    assert "exec" in mount.partition(":")[2].split(","), "Docker's default is noexec"


def test_the_compose_file_is_valid() -> None:
    found = run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert found.returncode == 0, found.stdout


def test_the_compose_file_starts_the_server_on_this_machine_only() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
        for volume in service["volumes"]:
            source = volume["source"] if isinstance(volume, dict) else volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("${") or (DEPLOY / source).exists(), source
    antiphon = COMPOSE["services"]["antiphon"]
    assert antiphon["read_only"] is True
    assert (DEPLOY / antiphon["build"]["context"] / antiphon["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    words = [re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in antiphon["command"]]
    settings = ServerSettings(**served(*words).server)
    assert antiphon["ports"] == [f"127.0.0.1:{settings.port}:{settings.port}"]
    assert seconds(antiphon["stop_grace_period"]) > settings.drain_seconds
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": [f"antiphon:{settings.port}"]}]


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def test_the_kubernetes_manifest_is_valid() -> None:
    found = run(tool("kubernetes-validate"), "--strict", "--quiet", DEPLOY / "kubernetes.yaml")
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_pod_drains_before_it_is_killed() -> None:
    settings = ServerSettings(**served(*CONTAINER["args"]).server)
    pause = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] > pause + settings.drain_seconds
    # The nodes learn of it within a few periods of the probe.
    assert pause >= 2 * CONTAINER["readinessProbe"]["periodSeconds"]


def test_probes_and_ports_of_a_pod() -> None:
    assert CONTAINER["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    assert CONTAINER["startupProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    assert CONTAINER["livenessProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    (port,) = CONTAINER["ports"]
    settings = ServerSettings(**served(*CONTAINER["args"]).server)
    assert port == {"name": "http", "containerPort": settings.port}
    assert KUBERNETES["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    annotations = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(settings.port)


def test_the_parts_of_the_manifest_name_each_other() -> None:
    labels = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert KUBERNETES["Service"]["spec"]["selector"] == labels
    assert KUBERNETES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    target = KUBERNETES["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == KUBERNETES["Deployment"]["metadata"]["name"]
    volumes = {volume["name"] for volume in POD["volumes"]}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == volumes
    assert "replicas" not in KUBERNETES["Deployment"]["spec"], "each apply would undo the autoscaler's"


def test_a_pod_has_no_rights() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" == instruction("USER")
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False


def test_a_pod_uses_as_many_threads_as_it_asks_for() -> None:
    command = served(*CONTAINER["args"])
    assert str(command.threads) == CONTAINER["resources"]["requests"]["cpu"]


def unit_settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_starts_the_server() -> None:
    (start,) = unit_settings()["ExecStart"]
    program, command, *rest = shlex.split(start.replace("$ANTIPHON_ARGUMENTS", "/srv/models/demo --quantize int8"))
    assert (Path(program).name, command) == ("antiphon", "serve")
    settings = ServerSettings(**parse(Serve, rest, prog="antiphon serve").server)
    assert settings.host == "127.0.0.1"
    assert int(unit_settings()["TimeoutStopSec"][0]) > settings.drain_seconds
    assert unit_settings()["KillMode"] == ["mixed"], "SIGTERM must not end the models while requests run"
    for line in re.findall(r"^#\s+(?:/opt/antiphon/bin/pip|cp) .*", UNIT, re.MULTILINE):
        for name in re.findall(r"(?:^|\s)((?:deploy/)?[\w.]+\.(?:txt|service))\b", line):
            assert (ROOT / name).is_file(), name


def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    # It looks for the program and the environment, which this machine does not have.
    text = UNIT.replace("/opt/antiphon/bin/antiphon", shutil.which("true") or "/bin/true")
    unit = tmp_path / "antiphon.service"
    unit.write_text(text, encoding="utf-8")
    found = run(analyze, "verify", unit)
    assert (found.returncode, found.stderr) == (0, "")
    unit.write_text(text.replace("ProtectSystem=strict", "ProtectSystm=strict"), encoding="utf-8")
    assert "ProtectSystm" in run(analyze, "verify", unit).stderr, "the validator does not notice a wrong name"
    unit.write_text(text, encoding="utf-8")
    rated = run(analyze, "security", "--offline=true", "--threshold=20", unit)
    assert rated.returncode == 0, rated.stdout[-300:]  # an exposure of at most 2.0 of 10


def test_every_file_of_deploy_is_tested_here() -> None:
    """A new file needs a test: it is named in one of these files."""
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for path in DEPLOY.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.name in tests, path.name


@pytest.mark.parametrize("words", [["--prot", "8000"], ["--drain-second", "3"]])
def test_a_wrong_flag_would_be_noticed(words: list[str]) -> None:
    with pytest.raises((ConfigError, ValueError)):
        served("/models/demo", *words)


def test_yaml_files_have_no_key_twice() -> None:
    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key twice"
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    files = [*DEPLOY.rglob("*.yaml")]
    assert len(files) >= 8
    for path in files:
        assert list(yaml.load_all(path.read_text(encoding="utf-8"), Strict))
