"""deploy/: what it says holds: schemas, names of settings, commands, secrets and locks."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api.keys import hash_key
from cardwatch.cli import main
from cardwatch.settings import load_settings
from tests.style.tidy import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
KUBERNETES_VERSIONS = ("1.29", "1.34")
MANIFESTS = sorted(path for path in DEPLOY.glob("kubernetes/*/*.yaml") if path.name != "kustomization.yaml")
COMPOSE = DEPLOY / "compose" / "compose.yaml"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ROLES = {"score", "respond", "learn", "history", "notify"}


def documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(path.read_text())


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each container of a workload, with the name of its workload."""
    for path in MANIFESTS:
        for document in documents(path):
            pod = document.get("spec", {}).get("template", {}).get("spec")
            for container in pod["containers"] if pod else []:
                yield document["metadata"]["name"], container


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CARDWATCH_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_manifests_fit_kubernetes_schema(path: Path, version: str) -> None:
    """Strictly: a misspelt field would silently do nothing."""
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("folder", ["base", "example"])
def test_kustomizations_name_what_is_there(folder: str) -> None:
    """Every resource exists, and every manifest is somebody's resource."""
    (kustomization,) = documents(DEPLOY / "kubernetes" / folder / "kustomization.yaml")
    found = {(DEPLOY / "kubernetes" / folder / name).resolve() for name in kustomization["resources"]}
    assert all(path.exists() for path in found)
    assert {path for path in MANIFESTS if path.parent.name == folder} == {path for path in found if path.is_file()}


def test_the_compose_file_fits_its_schema() -> None:
    """The Compose Specification's own schema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_container_file_is_clean() -> None:
    """The linter of container files finds nothing."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, DEPLOY / "container" / "Containerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_container_is_locked_down() -> None:
    """Nobody is root, nothing but its volumes can be written, and memory is bounded by what was measured."""
    names = []
    for name, container in containers():
        names.append(name)
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]
    assert {f"cardwatch-{role}" for role in (*ROLES, "api", "topics")} == set(names)


@pytest.mark.parametrize("arguments", [container["args"] for _, container in containers()], ids=" ".join)
def test_commands_exist(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What a container is started with is a command with these words and options: its help says so."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    words = [word for place, word in enumerate(arguments) if not arguments[place - 1].startswith("--")]
    assert all(word in help_text for word in words)


def test_settings_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable that deploy/ sets is a setting with a value that is allowed."""
    (settings,) = documents(DEPLOY / "kubernetes" / "base" / "settings.yaml")
    compose = yaml.safe_load(COMPOSE.read_text())["x-cardwatch"]["environment"]
    units = [match.group(1, 2) for unit in UNITS for match in re.finditer(r"(CARDWATCH_\w+)=(\S+)", unit.read_text())]
    given = [*settings["data"].items(), *compose.items(), *units]
    assert len(given) >= 8
    for name, value in given:
        if name != "CARDWATCH_SECRETS_DIR":
            monkeypatch.setenv(name, value)
            load_settings()


def test_secrets_are_made_once_and_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's secrets are settings that load, its key's digest is that of the key, and it never changes them."""
    script = tmp_path / "make-secrets.sh"
    shutil.copy(DEPLOY / "compose" / "make-secrets.sh", script)
    said = subprocess.run(["bash", script], capture_output=True, text=True, check=True).stdout
    first = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    again = subprocess.run(["bash", script], capture_output=True, text=True, check=True).stdout
    assert {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()} == first
    assert again == ""
    # Compose mounts only those that a service asks for; the servers' own passwords are no settings of ours.
    for name in ("redis_password", "postgres_password"):
        (tmp_path / "secrets" / name).unlink()
    monkeypatch.setenv("CARDWATCH_SECRETS_DIR", str(tmp_path / "secrets"))
    settings = load_settings()
    assert settings.redis.url.get_secret_value().endswith("@redis:6379/0")
    assert settings.history.url.get_secret_value().endswith("@postgres:5432/cardwatch")
    (key,) = settings.api.keys.values()
    assert key.role == "senior_agent"
    secret = said.strip().rpartition(" ")[2]
    assert hash_key(secret) == key.sha256


def test_compose_and_script_agree_on_secrets() -> None:
    """Every secret of the compose file is one that the script makes."""
    wanted = set(yaml.safe_load(COMPOSE.read_text())["secrets"])
    made = set(re.findall(r"^\s*keep (\w+) ", (DEPLOY / "compose" / "make-secrets.sh").read_text(), re.MULTILINE))
    assert wanted == made


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_load_what_they_need(unit: Path) -> None:
    """The API's unit has all secrets, a worker's those of workers; both end in order."""
    text = unit.read_text()
    credentials = set(re.findall(r"^LoadCredential=(\w+):", text, re.MULTILINE))
    workers = {"detector__fingerprint_key", "redis__url", "desk__code_secret"}
    assert credentials == (workers | {"api__session_secret", "api__keys"} if "api" in unit.name else workers)
    assert re.search(r"^ExecStart=/opt/cardwatch/bin/cardwatch (worker --roles %i|api) ", text, re.MULTILINE)


def test_the_image_gets_the_tested_versions() -> None:
    """Its lock is the run-time part of requirements.lock, version by version."""

    def versions(path: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", path.read_text(), re.MULTILINE))

    image = versions(DEPLOY / "container" / "requirements.lock")
    tested = versions(REPOSITORY / "requirements.lock")
    assert len(image) > 40
    assert image.items() <= tested.items()
    assert "pytest" not in image


def test_scripts_can_be_run() -> None:
    """They are executable, as the documentation calls them."""
    assert (DEPLOY / "compose" / "make-secrets.sh").stat().st_mode & stat.S_IXUSR
