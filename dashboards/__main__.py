"""`python -m dashboards`: write configs/grafana/*.json."""

from __future__ import annotations

from pathlib import Path

from dashboards.drawing import dashboard_files

FOLDER = Path("configs") / "grafana"

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in dashboard_files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)
