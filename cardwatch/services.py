"""Which Kafka, Redis and API a command talks to: configured ones, or those of a demo running in the data directory."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cardwatch.embedded import DataDirectory
from cardwatch.errors import SettingsError
from cardwatch.settings import DELIMITER, ENVIRONMENT_PREFIX, Settings, Tree, load_settings

# The file of --config, for processes that cardwatch starts itself.
CONFIG_VARIABLE = "CARDWATCH_CONFIG"
_PRIVATE_MODE = 0o600


@dataclass(frozen=True, slots=True)
class RunningServices:
    """What a running demo offers to other commands. Written for this user only: it holds the demo's API keys.

    Attributes:
        pid: of the demo's main process.
        flags: settings as a tree, such that other commands reach the demo's services.
        api_url: where the HTTP service answers.
        api_keys: secret by name of the demo's keys.
        world: settings of the simulated world that plays.
    """

    pid: int
    flags: Tree
    api_url: str
    api_keys: Mapping[str, str] = field(repr=False)
    world: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def find(cls, data: DataDirectory) -> RunningServices | None:
        """The demo that runs in this data directory, None where none does."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            found = cls(**json.loads(_path(data).read_text("utf-8")))
            os.kill(found.pid, 0)
            return found
        return None

    def publish(self, data: DataDirectory) -> None:
        """Let other commands find this demo."""
        write_privately(_path(data), asdict(self))

    @staticmethod
    def withdraw(data: DataDirectory) -> None:
        """The demo has ended."""
        _path(data).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Layers:
    """What the user gave on top of the shipped file and the environment."""

    config_file: Path | None = None
    flags: Tree = field(default_factory=dict)

    def load(self) -> Settings:
        """Read all layers.

        Raises:
            SettingsError: a setting is wrong.
        """
        return load_settings(self.config_file, self.flags)

    def with_flags(self, more: Tree) -> Layers:
        """These layers, with further flags on top."""
        return Layers(self.config_file, merged(self.flags, more))

    def environment(self) -> dict[str, str]:
        """Variables that give these layers to a process of ours."""
        variables = {} if self.config_file is None else {CONFIG_VARIABLE: str(self.config_file.absolute())}
        for section, settings in self.flags.items():
            for name, value in settings.items():
                text = value if isinstance(value, str) else json.dumps(value)
                variables[f"{ENVIRONMENT_PREFIX}{section}{DELIMITER}{name}".upper()] = text
        return variables


def merged(below: Tree, above: Tree) -> Tree:
    """Two trees of settings as one; `above` wins."""
    result: Tree = dict(below)
    for name, value in above.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def connected(layers: Layers, *, kafka: bool = True, redis: bool = True) -> Settings:
    """Settings with the addresses of Kafka and Redis in them: configured, or those of a running demo.

    Args:
        layers: what the user gave.
        kafka: whether the command needs a broker.
        redis: whether the command needs Redis.

    Raises:
        SettingsError: a setting is wrong, or an address is missing and no demo runs.
    """
    settings = layers.load()
    lacks_kafka = kafka and not settings.kafka.bootstrap_servers
    lacks_redis = redis and not settings.redis.url.get_secret_value()
    if not (lacks_kafka or lacks_redis):
        return settings
    demo = RunningServices.find(DataDirectory(settings.data.directory))
    if demo is not None:
        return Layers(layers.config_file, merged(demo.flags, layers.flags)).load()
    lines = []
    where = f"and no demo runs in {settings.data.directory}; start `cardwatch demo`, or give"
    if lacks_kafka:
        lines.append(f"kafka.bootstrap_servers: no broker is set, {where} --broker host:port")
    if lacks_redis:
        lines.append(f"redis.url: no Redis is set, {where} --redis redis://host:port")
    raise SettingsError("\n".join(lines))


def own_secrets(data: DataDirectory) -> Tree:
    """Secrets of a trial, made once for each data directory: settings as a tree.

    A real installation configures them, for they must be the same on all its machines.
    """
    path = data.root / "secrets.json"
    found: Tree = {}
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text("utf-8"))
    fresh: Tree = {
        "detector": {"fingerprint_key": secrets.token_hex(16)},
        "api": {"session_secret": secrets.token_hex(32)},
        "desk": {"code_secret": secrets.token_hex(32)},
    }
    # A directory of an earlier version may lack some.
    made = fresh | found
    if made != found:
        write_privately(path, made)
    return made


def write_privately(path: Path, content: Any) -> None:
    """Write JSON that only this user may read, in one step."""
    written = path.with_suffix(".tmp")
    written.unlink(missing_ok=True)
    with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_MODE), "w") as out:
        json.dump(content, out)
    written.replace(path)


def _path(data: DataDirectory) -> Path:
    return data.run / "services.json"
