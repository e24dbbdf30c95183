"""`docs/features.md`, generated from the catalogue: `python -m cardwatch.feature_page` writes it, a test compares."""

from __future__ import annotations

from pathlib import Path

from detector.catalogue import CATALOGUE, HOUR_MS, Entity, Feature

PAGE = Path("docs") / "features.md"
_HEAD = """# Features

Generated from `detector/catalogue.py` by `python -m cardwatch.feature_page`. Every payment is described by these
values, computed as of its own time: a window is (t − window, t], this payment included unless the meaning says
otherwise. Windows of cards are exact to the millisecond; those of places, merchants, devices and patterns are made of
buckets of 1/64 of the window. A label counts from when it has come, at its payment's own time; nothing knows how late
labels are. A place is the terminal, or the merchant where no terminal is given.

| feature | entity | window | unit | meaning | missing | reason |
| --- | --- | --- | --- | --- | --- | --- |
"""


def _window(feature: Feature) -> str:
    """A window in hours or days."""
    hours = feature.window_ms // HOUR_MS
    if not hours:
        return "–"
    return f"{hours} h" if hours <= 24 else f"{hours // 24} d"


def feature_page() -> str:
    """The page."""
    rows = (
        f"| `{f.name}` | {Entity(f.entity).name.lower().replace('_', ' × ')} | {_window(f)} | {f.unit} | {f.meaning} "
        f"| {f.missing} | `{f.reason}` |\n"
        for f in CATALOGUE
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(feature_page(), encoding="utf-8")
