"""`python -m cardwatch` is `cardwatch`."""

from __future__ import annotations

from cardwatch.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
