"""A whole installation on real servers, started by cardwatch's own commands, with processes that can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path

from api.keys import hash_key
from tests.services.process import wait_until
from tests.streams.kafka_world import PARTITIONS, World

ROLES = ("score", "respond", "learn", "history", "notify")
_WARM_S = 400.0
_STOP_S = 60.0
# Rows for tens of thousands of payments, so that a checkpoint is a matter of megabytes.
_SMALL = {
    "CARDS": 32_768, "PAYMENTS": 65_536, "EVENTS": 524_288,
    "ENTITIES": 65_536, "BUCKETS": 1_048_576,
}  # fmt: skip


class Installation:
    """Settings for cardwatch on a broker and a Redis, as an operator gives them: by the environment."""

    def __init__(self, data: Path, world: World, redis_url: str, freezes_per_minute: int = 100_000) -> None:
        """Choose the settings and the key of a supervisor, `api_key`; nothing is started.

        Args:
            data: the data directory.
            world: a real broker with fresh topics.
            redis_url: an empty Redis.
            freezes_per_minute: where the circuit breaker opens; it must not for those who count freezes.
        """
        self.api_key = secrets.token_urlsafe(24)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CARDWATCH_")}
        settings = {
            "DATA__DIRECTORY": str(data),
            "KAFKA__BOOTSTRAP_SERVERS": world.settings.bootstrap_servers,
            "KAFKA__PARTITIONS": str(PARTITIONS),
            "KAFKA__GROUP_PREFIX": world.settings.group_prefix,
            "REDIS__URL": redis_url,
            "FILES__PLAYBOOK": str(data / "playbook.toml"),
            "DETECTOR__FINGERPRINT_KEY": secrets.token_hex(16),
            "API__SESSION_SECRET": secrets.token_hex(32),
            "DESK__CODE_SECRET": secrets.token_hex(32),
            "API__KEYS": json.dumps({"supervisor": {"role": "supervisor", "sha256": hash_key(self.api_key)}}),
            "API__PORT": "0",
            "SCORE__CHECKPOINT_INTERVAL_S": "1",
            "SCORE__SESSION_TIMEOUT_S": "3",
            "LEARN__PUBLISH_INTERVAL_S": "1",
            **{f"METRICS__{role.upper()}_PORT": "0" for role in ROLES},
            **{f"DETECTOR__{name}": str(rows) for name, rows in _SMALL.items()},
        }
        data.mkdir(parents=True, exist_ok=True)
        (data / "playbook.toml").write_text(_playbook(freezes_per_minute))
        self.data = data
        self.environment = kept | {f"CARDWATCH_{name}": value for name, value in settings.items()}

    def run(self, *arguments: str) -> str:
        """Run a command to its end; what it said. Another exit code than 0 is the test's failure."""
        done = subprocess.run(
            command(*arguments), env=self.environment, capture_output=True, text=True, check=False, timeout=_WARM_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _playbook(freezes_per_minute: int) -> str:
    """The shipped playbook with another limit of freezes."""
    shipped = resources.files("configs").joinpath("playbook.toml").read_text("utf-8")
    changed = shipped.replace("freezes_per_minute = 300", f"freezes_per_minute = {freezes_per_minute}", 1)
    return changed.replace("share_of_cards_per_hour = 0.005", "share_of_cards_per_hour = 0.02", 1)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cardwatch", *arguments]


class Worker:
    """`cardwatch worker --roles score,respond,learn,history`: a process that watches over one process for each role."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._log = installation.data.parent / "worker.log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command("worker", "--roles", ",".join(ROLES)),
                env=self._installation.environment,
                stdout=log,
                stderr=log,
            )

    def kill(self, target: str) -> None:
        """Kill -9 one role, which its supervisor starts again, or `all`: the supervisor with all roles."""
        if target == "all":
            self._kill_all()
            self.start()
            return
        wait_until(lambda: target in self.children(), seconds=30, what=f"the role {target} runs")
        os.kill(self.children()[target], signal.SIGKILL)

    def stop(self) -> None:
        """End in order; the log is shown where that fails."""
        self._process.terminate()
        code = self._process.wait(_STOP_S)
        assert code == 0, self.log()

    def clean_up(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self._process.poll() is None:
            self._kill_all()

    def log(self) -> str:
        """What the supervisor said."""
        return self._log.read_text(errors="replace")

    def _kill_all(self) -> None:
        # Roles first: the kernel tells them to end in order as soon as their supervisor is gone.
        for pid in self.children().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def children(self) -> dict[str, int]:
        """Process ids by role; a child that is still to become its role is left out."""
        assert self._process.poll() is None, self.log()
        parent = self._process.pid
        found = {}
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if "--roles" in words:
                    found[words[words.index("--roles") + 1]] = int(pid)
        return found
