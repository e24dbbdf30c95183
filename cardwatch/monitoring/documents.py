"""YAML as Prometheus reads it, from plain dictionaries: few forms, every text quoted, the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

Node = str | int | float | Mapping[str, "Node"] | Sequence["Node"]


def to_yaml(node: Mapping[str, Node]) -> str:
    """A document in YAML's block style."""
    return "\n".join(_lines(node, 0)) + "\n"


def _lines(node: Node, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _entry(f"{pad}{key}:", value, depth)
    elif not isinstance(node, str) and isinstance(node, Sequence):
        for value in node:
            inner = list(_lines(value, depth + 1))
            yield f"{pad}- {inner[0].lstrip()}"
            yield from inner[1:]
    else:
        yield pad + _scalar(node)


def _entry(head: str, value: Node, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        if not value:
            yield f"{head} {{}}" if isinstance(value, Mapping) else f"{head} []"
            return
        yield head
        yield from _lines(value, depth + 1)
    elif isinstance(value, str) and "\n" in value:
        yield f"{head} |-"
        yield from ("  " * (depth + 1) + line if line else "" for line in value.split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
