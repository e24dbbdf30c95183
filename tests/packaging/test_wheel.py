"""An installed wheel works away from the checkout: the command is there, and so are the files it reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.style.tidy import REPOSITORY, SHIPPED, files_of_the_repository

_SECONDS = 150.0


def _run(command: Sequence[str], directory: Path) -> str:
    """Run outside of the checkout, with nothing of ours on the path."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that hatchling builds of this checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)], REPOSITORY)
    (built,) = directory.glob("cardwatch-*.whl")
    return built


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; its dependencies are lent by ours, so that no index is asked."""
    directory = tmp_path_factory.mktemp("installation")
    venv = directory / "venv"
    _run([sys.executable, "-m", "venv", "--without-pip", str(venv)], directory)
    python = str(venv / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    _run([*pip, str(wheel)], directory)
    # Only now: pip would take an editable cardwatch of ours for the one it is to install. Paths in a .pth file are
    # not searched for further .pth files, so the checkout itself does not come along.
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    site = _run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], directory).strip()
    (Path(site) / "lent.pth").write_text("\n".join(sorted(lent)))
    return venv


def test_the_wheel_holds_every_file_of_the_shipped_packages_and_nothing_else(wheel: Path) -> None:
    """Configuration, templates and scripts come along; tests, benchmarks and documents stay at home."""
    expected = {str(path) for path in files_of_the_repository() if path.parts[0] in SHIPPED}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {name for name in expected if (REPOSITORY / name).is_file()}


def test_the_command_runs_from_anywhere(installation: Path, tmp_path: Path) -> None:
    """`cardwatch --help` lists its verbs in a directory that knows nothing of the checkout."""
    text = _run([str(installation / "bin" / "cardwatch"), "--help"], tmp_path)
    for verb in ("demo", "worker", "api", "replay", "doctor"):
        assert verb in text


def test_the_installed_packages_find_their_data(installation: Path, tmp_path: Path) -> None:
    """Every shipped default is found and readable where the wheel was installed, not in the checkout."""
    program = """
import importlib.resources, json, sys
def walk(place, prefix):
    for entry in place.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from walk(entry, name)
        elif not entry.name.endswith((".py", ".pyc")):
            yield name, entry.read_bytes().decode(errors="replace")
print(json.dumps({p: dict(walk(importlib.resources.files(p), p)) for p in sys.argv[1:]}))
"""
    python = str(installation / "bin" / "python")
    found = json.loads(_run([python, "-c", program, *SHIPPED], tmp_path))
    read = {name: text for files in found.values() for name, text in files.items()}
    for name in ("configs/playbook.toml", "configs/policy.toml", "configs/models.toml"):
        assert tomllib.loads(read[name])
    assert any(name.endswith(".html") for name in read if name.startswith("api/"))
    assert any(name.endswith(".lua") for name in read if name.startswith("casework/"))


def test_the_version_is_the_one_of_the_project(installation: Path, tmp_path: Path) -> None:
    """The installed distribution carries pyproject's version."""
    program = "import importlib.metadata; print(importlib.metadata.version('cardwatch'))"
    version = _run([str(installation / "bin" / "python"), "-c", program], tmp_path).strip()
    assert version == tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
