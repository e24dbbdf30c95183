"""Dependencies are few, explained, locked with hashes, and the one that must not move is pinned."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from tests.style import tidy

# Never imported by us: each is loaded by the package that its line in docs/dependencies.md names, or run as a program.
_NOT_IMPORTED = {"cramjam", "hiredis", "python-multipart"}
# The extra of what benchmarks are measured against; it is installed by hand and not locked.
_PEERS = "peers"
# The extra of what an installation may do without.
_OPTIONAL = "postgres"


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((tidy.REPOSITORY / "pyproject.toml").read_text())["project"]
    return project


def _tools() -> set[str]:
    """Distributions of the extras that tests and development need."""
    extras = _project()["optional-dependencies"]
    names = {
        tidy.normalised(name)
        for extra, packages in extras.items()
        if extra not in {_PEERS, _OPTIONAL}
        for name in packages
    }
    return names - {"cardwatch"}


def _explained(heading: str) -> set[str]:
    """Names in the first column of the table under a heading of docs/dependencies.md."""
    text = (tidy.REPOSITORY / "docs" / "dependencies.md").read_text()
    section = text.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([a-z0-9-]+)` \|", section, flags=re.MULTILINE))


def _locked() -> list[str]:
    """The requirements of the lock, each with its hashes, continuation lines joined."""
    text = (tidy.REPOSITORY / "requirements.lock").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_each_runtime_dependency_has_its_reason() -> None:
    """docs/dependencies.md explains what pyproject.toml declares, no more and no less."""
    assert _explained("At run time") == set(tidy.declared_dependencies())


def test_each_tool_has_its_reason() -> None:
    """The same for the extras."""
    assert _explained("For tests and development") == _tools()


def test_what_is_optional_has_its_reason() -> None:
    """And for what an installation may do without."""
    optional = {tidy.normalised(name) for name in _project()["optional-dependencies"][_OPTIONAL]}
    assert _explained("Optional at run time (extra `postgres`)") == optional


def test_each_peer_has_its_reason() -> None:
    """And for what benchmarks are measured against."""
    peers = {tidy.normalised(name) for name in _project()["optional-dependencies"][_PEERS]}
    assert _explained("Peers of the benchmarks (extra `peers`)") == peers


def test_each_runtime_dependency_is_used() -> None:
    """What nothing imports goes."""
    imported: set[str] = set()
    for path in tidy.files_of_the_repository():
        if path.parts[0] in tidy.SHIPPED and path.suffix == ".py":
            text = (tidy.REPOSITORY / path).read_text()
            for _, module in tidy.imported_modules(text):
                imported |= tidy.distributions_of(module)
    assert tidy.declared_dependencies() - imported == _NOT_IMPORTED


def test_faust_is_pinned_exactly() -> None:
    """The batch seam overrides its private names."""
    assert "faust-streaming==0.15.3" in _project()["dependencies"]


def test_the_lock_holds_every_dependency_with_hashes() -> None:
    """Nothing floats, nothing comes unverified, and no index address is written down."""
    locked = _locked()
    names = {tidy.normalised(line) for line in locked}
    assert tidy.declared_dependencies() | _tools() <= names
    for line in locked:
        assert re.match(r"[a-z0-9.\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line
        assert "://" not in line


@pytest.mark.parametrize("word", ["index-url", "find-links", "trusted-host"])
def test_the_lock_names_no_place_to_download_from(word: str) -> None:
    """Where packages come from is a matter of the machine that installs them."""
    assert word not in (tidy.REPOSITORY / "requirements.lock").read_text()
