"""The habits that no linter of the shelf knows: `make check` runs this as `python -m tests.style.tidy`.

- no function passes 70 lines, no file of code 500;
- no stray note to self in a file that ruff does not read;
- the pure places import only what their floor allows, and no clock, network, files or logging;
- every third-party import of a shipped package is a declared dependency;
- the tree at the top of an `errors.py` names every error in it.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

REPOSITORY = Path(__file__).resolve().parents[2]
FUNCTION_LINES = 70
FILE_LINES = 500
SHIPPED = ("api", "cardwatch", "casework", "configs", "detector", "streams", "telemetry")

_CODE_SUFFIXES = frozenset({".css", ".html", ".js", ".lua", ".py", ".sh"})
_NOTED_SUFFIXES = frozenset({".css", ".html", ".js", ".lua", ".sh", ".toml", ".yaml", ".yml", ""})
_NOTE = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")

# What would let the outside into a pure place: clocks, chance, network, files, processes, logs.
_DOORS = frozenset(
    {"asyncio", "glob", "http", "logging", "multiprocessing", "os", "pathlib", "random", "requests", "secrets"}
    | {"selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time"}
    | {"urllib"}
)
_DOOR_CALLS = frozenset({"input", "open", "print"})


@dataclass(frozen=True, slots=True)
class PurePlace:
    """A folder whose results depend on its arguments alone.

    Attributes:
        folder: path in the repository.
        may_import: the third-party packages that its floor allows.
        doors: modules of the standard library it may import all the same.
        except_for: files or folders inside that are the doors themselves.
    """

    folder: str
    may_import: frozenset[str]
    doors: frozenset[str] = frozenset()
    except_for: tuple[str, ...] = ()

    def covers(self, path: PurePosixPath) -> bool:
        """Whether a file of the repository stands under this rule."""
        return path.is_relative_to(self.folder) and not any(path.is_relative_to(door) for door in self.except_for)


PURE_PLACES = (
    # jit.py asks the environment where Numba's cache lies.
    PurePlace("detector", frozenset({"numba", "numpy", "river"}), except_for=("detector/jit.py",)),
    PurePlace("casework", frozenset({"msgspec"}), doors=frozenset({"asyncio"}), except_for=("casework/adapters",)),
    PurePlace(
        "cardwatch/simulator",
        frozenset({"numpy"}),
        # Files, Kafka and the command line are doors of their own; the world behind them has none.
        except_for=tuple(f"cardwatch/simulator/{door}.py" for door in ("cli", "kafka", "output")),
    ),
)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One breach: where, and what would be right."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        """Format as linters do, so that editors can jump to it."""
        return f"{self.path}:{self.line}: {self.message}"


def long_functions(path: PurePosixPath, text: str) -> Iterator[Finding]:
    """Find functions of more than 70 lines, signature and docstring included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                message = (
                    f"{node.name} has {lines} lines, more than {FUNCTION_LINES}: split it where it changes subject"
                )
                yield Finding(str(path), node.lineno, message)


def long_file(path: PurePosixPath, text: str) -> Iterator[Finding]:
    """Find files of code of more than 500 lines."""
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield Finding(str(path), FILE_LINES + 1, f"{lines} lines, more than {FILE_LINES}: split the file by subject")


def stray_notes(path: PurePosixPath, text: str) -> Iterator[Finding]:
    """Find notes to self; a follow-up is an issue."""
    for number, line in enumerate(text.splitlines(), start=1):
        if note := _NOTE.search(line):
            yield Finding(str(path), number, f"{note.group()}: file an issue instead")


def imported_modules(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level package) of every import, also those inside functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]


def impurities(path: PurePosixPath, text: str) -> Iterator[Finding]:
    """Find imports and calls that let the outside into a pure place."""
    for place in PURE_PLACES:
        if not place.covers(path):
            continue
        for line, module in imported_modules(text):
            if module in SHIPPED:
                continue
            if module in _DOORS - place.doors:
                yield Finding(str(path), line, f"{place.folder} is pure: pass in what {module} would bring")
            elif module not in sys.stdlib_module_names and module not in place.may_import:
                allowed = ", ".join(sorted(place.may_import))
                yield Finding(str(path), line, f"{place.folder} imports {module}; its floor allows {allowed}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DOOR_CALLS:
                yield Finding(str(path), node.lineno, f"{place.folder} is pure: no {node.func.id}()")


def normalised(requirement: str) -> str:
    """Reduce a requirement to its distribution's name as registries compare names."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def declared_dependencies() -> frozenset[str]:
    """Names of the distributions that an installed cardwatch brings along."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return frozenset(normalised(requirement) for requirement in project["dependencies"])


@functools.cache
def _installed() -> Mapping[str, list[str]]:
    """Map every installed top-level module to its distributions; looking them up takes a second."""
    return importlib.metadata.packages_distributions()


def distributions_of(module: str) -> frozenset[str]:
    """Names of the installed distributions that provide a top-level module."""
    return frozenset(normalised(name) for name in _installed().get(module, ()))


def undeclared_imports(path: PurePosixPath, text: str) -> Iterator[Finding]:
    """Find third-party imports of shipped packages that pyproject.toml does not declare."""
    if path.parts[0] not in SHIPPED:
        return
    for line, module in imported_modules(text):
        if module in SHIPPED or module in sys.stdlib_module_names:
            continue
        if not distributions_of(module) & declared_dependencies():
            message = f"{module} is not a dependency: declare it in pyproject.toml and docs/dependencies.md, or drop it"
            yield Finding(str(path), line, message)


def errors_missing_from_tree(path: PurePosixPath, text: str) -> Iterator[Finding]:
    """Find errors that the tree drawn at the top of their file leaves out."""
    module = ast.parse(text)
    tree = ast.get_docstring(module) or ""
    for node in module.body:
        if isinstance(node, ast.ClassDef) and not re.search(rf"\b{node.name}\b", tree):
            yield Finding(str(path), node.lineno, f"draw {node.name} into the tree at the top of the file")


Check = Callable[[PurePosixPath, str], Iterator[Finding]]


def checks_for(path: PurePosixPath) -> Iterator[Check]:
    """Choose the checks that a file must pass."""
    if path.suffix in _CODE_SUFFIXES:
        yield long_file
    if path.suffix in _NOTED_SUFFIXES:
        yield stray_notes
    if path.suffix == ".py":
        yield from (long_functions, impurities, undeclared_imports)
    if path.name == "errors.py":
        yield errors_missing_from_tree


def files_of_the_repository() -> list[PurePosixPath]:
    """List what git tracks or would track."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted({PurePosixPath(name) for name in names.split("\0") if name})


def findings() -> list[Finding]:
    """Check the whole repository."""
    found: list[Finding] = []
    for path in files_of_the_repository():
        file = REPOSITORY / path
        checks = list(checks_for(path))
        if checks and file.is_file():
            text = file.read_text(encoding="utf-8")
            found.extend(finding for check in checks for finding in check(path, text))
    return sorted(found)


def main() -> int:
    """Print what is untidy; the exit status is 1 if anything is."""
    found = findings()
    for finding in found:
        print(finding)
    print(f"tidy: {len(found)} found" if found else "tidy: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
