"""Settings: the shipped `configs/cardwatch.toml` < the file of --config < files of secrets < variables < flags.

The shipped file holds every default, so there is one place to read; the classes here hold what is allowed. A wrong
setting is named, with where it came from and what would be right, before anything starts. What was given is never
repeated: it may be a secret that landed in the wrong place.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from redis.connection import parse_url

from cardwatch.api_settings import ApiSettings
from cardwatch.errors import SettingsError
from cardwatch.notice_settings import NoticeSettings
from cardwatch.oidc_settings import OidcSettings
from cardwatch.sections import Hours, Port, Section, hex_digits
from cardwatch.webhook_settings import WebhookSettings

ENVIRONMENT_PREFIX = "CARDWATCH_"
# Names a directory with a file for each secret, as orchestrators mount them.
SECRETS_VARIABLE = "CARDWATCH_SECRETS_DIR"
DELIMITER = "__"
SHIPPED_FILE = "cardwatch.toml"
_HOSTS = r"^$|^[^\s:,]+:\d+(,[^\s:,]+:\d+)*$"

Rows = Annotated[int, Field(ge=64, le=2_000_000_000, description="a number of rows, 64 or more")]
Seconds = Annotated[float, Field(gt=0, le=86_400, description="seconds, above 0 and at most a day")]
Days = Annotated[int, Field(ge=1, le=365, description="days, 1 to 365")]
FileName = Annotated[str, Field(description="a path, or empty for the shipped file")]


def _power_of_two(number: int) -> int:
    if number & (number - 1):
        message = "it is no power of two"
        raise ValueError(message)
    return number


def _redis_url(secret: SecretStr) -> SecretStr:
    """Refuse what redis-py could not connect to; it may hold a password, so it is not repeated."""
    try:
        if secret.get_secret_value():
            parse_url(secret.get_secret_value())  # type: ignore[no-untyped-call] # redis-py leaves it bare
    except ValueError:
        message = "it is no address of a Redis"
        raise ValueError(message) from None
    return secret


def _history_url(secret: SecretStr) -> SecretStr:
    """Refuse other databases; the address may hold a password, so it is not repeated."""
    if secret.get_secret_value() and not secret.get_secret_value().startswith(("postgresql", "sqlite:")):
        message = "it is no address of a PostgreSQL or SQLite database"
        raise ValueError(message)
    return secret


PowerOfTwo = Annotated[int, AfterValidator(_power_of_two)]


class DataSettings(Section):
    """Where cardwatch writes."""

    directory: Path = Field(description="a directory that cardwatch may write to")


class KafkaSettings(Section):
    """The broker and how to reach it."""

    bootstrap_servers: str = Field(pattern=_HOSTS, description="host:port,host:port")
    partitions: int = Field(ge=1, le=1024, description="partitions of every keyed topic, 1 to 1024")
    replication_factor: int = Field(ge=1, le=16, description="copies of every topic, 1 to 16")
    group_prefix: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}$", description="letters, digits and . _ -")
    partitioner: Literal["murmur2", "crc32"] = Field(description="murmur2 (Java's and ours) or crc32 (librdkafka's)")
    client: dict[str, SecretStr] = Field(description="librdkafka's connection settings, name and value as texts")
    embedded: bool = Field(default=False, description="set by cardwatch itself for the processes of a demo")

    def client_options(self) -> dict[str, str]:
        """Connection settings as they are handed to clients, secrets included."""
        return {name: value.get_secret_value() for name, value in self.client.items()}


class RedisSettings(Section):
    """The system of record for card states and open cases."""

    url: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(
        description="redis://host:6379/0, rediss://..., unix:///path, or empty"
    )
    cluster: bool = Field(description="true or false")
    shards: Annotated[int, AfterValidator(_power_of_two)] = Field(
        ge=1, le=4096, description="a power of two up to 4096"
    )
    outbox_limit: int = Field(ge=100, le=10_000_000, description="entries, 100 or more")
    timeout_s: Seconds
    retries: int = Field(ge=0, le=100, description="0 to 100")
    budget_s: Seconds
    replicas: int = Field(ge=0, le=16, description="replicas that must have a change, 0 to 16; 0 with cluster = true")
    confirm: Literal["redis", "kafka"] = Field(description="redis or kafka")
    confirm_within_s: Seconds
    sentinels: str = Field(pattern=_HOSTS, description="host:port,host:port, or empty")
    sentinel_service: str = Field(pattern=r"^[A-Za-z0-9._-]{0,100}$", description="the master's name at the sentinels")

    @model_validator(mode="after")
    def _check_together(self) -> RedisSettings:
        """Refuse what contradicts itself; nothing of what was given is repeated."""
        if self.cluster and self.replicas:
            message = "redis.replicas must be 0 with a cluster, whose nodes have min-replicas-to-write for that"
            raise ValueError(message)
        if bool(self.sentinels) != bool(self.sentinel_service) or (self.cluster and self.sentinels):
            message = "redis.sentinels and redis.sentinel_service go together, and not with redis.cluster"
            raise ValueError(message)
        if self.budget_s < self.timeout_s:
            message = "redis.budget_s must not be below redis.timeout_s"
            raise ValueError(message)
        return self

    def sentinel_addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each sentinel."""
        pairs = (address.rpartition(":") for address in self.sentinels.split(",") if address)
        return tuple((host, int(port)) for host, _, port in pairs)


class DetectorSettings(Section):
    """What shapes the state of the score role; see `detector.state.StateConfig`."""

    fingerprint_key: Annotated[SecretStr, AfterValidator(hex_digits(32))] = Field(
        default=SecretStr(""),
        description="32 lower-case hex digits: `openssl rand -hex 16`",
    )
    cards: Rows
    payments: Rows
    events: Rows
    entities: Rows
    buckets: Rows
    kept: Rows
    lateness_hours: Hours
    identity_memory_hours: Hours
    retention_days: Days
    maturity_days: Days
    unlabelled_one_in: int = Field(ge=1, le=1_000_000, description="1 or more")


class ScoreSettings(Section):
    """The score role; see `streams.settings.StreamSettings`."""

    checkpoint_url: str = Field(description="an fsspec URL, or empty for the data directory")
    checkpoint_interval_s: Seconds
    checkpoints_kept: int = Field(ge=2, le=1000, description="2 or more")
    batch_rows: int = Field(ge=1, le=1_000_000, description="records, 1 or more")
    linger_ms: float = Field(ge=0.5, le=1000, description="milliseconds, 0.5 to 1000")
    session_timeout_s: Seconds
    share_entities: bool = Field(description="true or false")
    future_bound_s: Seconds
    issuer_token_pattern: str = Field(description="a regular expression, or empty")


class HistorySettings(Section):
    """The memory of closed cases; see `casework.adapters.sql_history`."""

    url: Annotated[SecretStr, AfterValidator(_history_url)] = Field(
        description="postgresql+psycopg://..., sqlite:///path, or empty for a file in the data directory"
    )


class LearnSettings(Section):
    """The learn role."""

    publish_interval_s: Seconds
    examples_per_version: int = Field(ge=1, le=100_000_000, description="examples, 1 or more")


class DeskSettings(Section):
    """What people do about cases."""

    code_secret: Annotated[SecretStr, AfterValidator(hex_digits(64))] = Field(
        default=SecretStr(""),
        description="64 lower-case hex digits: `openssl rand -hex 32`",
    )


class MetricsSettings(Section):
    """Where each role shows its metrics."""

    host: str = Field(min_length=1, description="an address of this machine")
    score_port: Port
    respond_port: Port
    learn_port: Port
    history_port: Port
    notify_port: Port

    def port(self, role: str) -> int:
        """The port of a role."""
        return int(getattr(self, f"{role}_port"))


class FileSettings(Section):
    """Files that replace the shipped ones."""

    policy: FileName
    tried_policy: Annotated[str, Field(description="a path, or empty for none")]
    models: FileName
    playbook: FileName
    roles: FileName
    rates: FileName
    messages: FileName


class LoggingSettings(Section):
    """What is written to the logs."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(description="DEBUG, INFO, WARNING or ERROR")
    format: Literal["auto", "json", "text"] = Field(description="auto, json or text")


class TracingSettings(Section):
    """Spans of payments that come with a trace context."""

    enabled: bool = Field(description="true or false")


class Settings(BaseSettings):
    """Everything that can be set. Make one with `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=DELIMITER,
    )

    data: DataSettings
    kafka: KafkaSettings
    redis: RedisSettings
    detector: DetectorSettings
    score: ScoreSettings
    learn: LearnSettings
    history: HistorySettings
    desk: DeskSettings
    notices: NoticeSettings
    webhooks: WebhookSettings
    api: ApiSettings
    oidc: OidcSettings
    metrics: MetricsSettings
    files: FileSettings
    logging: LoggingSettings
    tracing: TracingSettings


Tree = dict[str, Any]


class _Given(NamedTuple):
    """What was given in each layer, to say where a wrong setting came from."""

    flags: Tree
    secrets: Tree
    chosen: Tree
    config_file: Path | None


def load_settings(config_file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read all layers of settings.

    Args:
        config_file: the file of --config.
        flags: what flags say, as a tree like that of the file, without those that were not given.

    Raises:
        SettingsError: something is wrong; one line a setting.
    """
    given = dict(flags or {})
    shipped = shipped_toml(SHIPPED_FILE)
    chosen = {} if config_file is None else read_toml(config_file)
    secrets = _read_secrets(os.environ.get(SECRETS_VARIABLE, ""))
    unknown = list(_wrong_variables())

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  pydantic's signature
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  pydantic's signature
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            files = (InitSettingsSource(settings_cls, init_kwargs=tree) for tree in (secrets, chosen, shipped))
            return (init_settings, env_settings, *files)

    if unknown:
        raise SettingsError("\n".join(unknown))
    try:
        return Layered(**given)
    except ValidationError as error:
        layers = _Given(given, secrets, chosen, config_file)
        lines = [_explain(dict(problem), layers) for problem in error.errors(include_input=False)]
        raise SettingsError("\n".join(lines)) from None


def read_toml(path: Path) -> Tree:
    """Read a TOML file of the user's.

    Raises:
        SettingsError: it cannot be read or is not TOML; the message names the file and the line.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        message = f"{path}: is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        message = f"{path}: is not TOML: {error}"
    raise SettingsError(message)


def _read_secrets(directory: str) -> Tree:
    """Settings out of files that are called like environment variables without the prefix: `redis__url`.

    Raises:
        SettingsError: the directory or a file cannot be read, or there is no such setting; what a file holds is never
            repeated.
    """
    tree: Tree = {}
    try:
        # Kubernetes keeps its own links beside the files, hidden.
        files = [path for path in sorted(Path(directory).iterdir()) if path.name[0] != "."] if directory else []
        contents = [(path, path.read_text("utf-8").removesuffix("\n")) for path in files]
    except (OSError, UnicodeDecodeError) as error:
        message = f"{SECRETS_VARIABLE}: cannot be read ({type(error).__name__}); right is a directory of text files"
        raise SettingsError(message) from None
    for path, content in contents:
        *sections, name = path.name.lower().split(DELIMITER)
        field, siblings = _field((*sections, name))
        if field is None or not sections:
            message = f"{SECRETS_VARIABLE}: {path.name}: there is no such setting{_suggestion(name, siblings)}"
            raise SettingsError(message)
        within = tree
        for section in sections:
            within = within.setdefault(section, {})
        try:
            within[name] = json.loads(content) if _is_json((*sections, name)) else content
        except ValueError:
            message = f"{SECRETS_VARIABLE}: {path.name}: is not JSON; right is an object in JSON"
            raise SettingsError(message) from None
    return tree


def shipped_toml(name: str) -> Tree:
    """Read a shipped file of `configs/`, which lies inside the wheel as well."""
    return tomllib.loads(resources.files("configs").joinpath(name).read_text("utf-8"))


def configured_toml(path: str, shipped: str) -> Tree:
    """Read the file that a setting of [files] names, the shipped one where it is empty.

    Raises:
        SettingsError: the user's file cannot be read.
    """
    return read_toml(Path(path)) if path else shipped_toml(shipped)


def _explain(problem: dict[str, Any], layers: _Given) -> str:
    """One sentence a problem: which setting, from where, what is wrong, what would be right."""
    path = tuple(str(part) for part in problem["loc"])
    name = ".".join(path)
    field, siblings = _field(path)
    if problem["type"] == "extra_forbidden":
        right = f"there is no such setting{_suggestion(path[-1], siblings)}"
    elif field is None:
        right = str(problem["msg"])
    else:
        wrong = str(problem["msg"]).removeprefix("Value error, ")
        if problem["type"] == "string_pattern_mismatch":
            wrong = "it has another form"
        right = f"{wrong}; right is {field.description}"
    return f"{name} ({_origin(path, layers)}): {right}"


def _origin(path: tuple[str, ...], layers: _Given) -> str:
    if _holds(layers.flags, path):
        return "a flag"
    variables = [ENVIRONMENT_PREFIX + DELIMITER.join(path[:length]).upper() for length in range(len(path), 0, -1)]
    for variable in variables:
        if variable in os.environ:
            return f"environment variable {variable}"
    if _holds(layers.secrets, path):
        return f"a file of {SECRETS_VARIABLE}"
    return str(layers.config_file) if _holds(layers.chosen, path) else f"configs/{SHIPPED_FILE}"


def _holds(tree: Any, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True


def _field(path: tuple[str, ...]) -> tuple[FieldInfo | None, list[str]]:
    """The field that a path leads to, and the names beside it."""
    model: Any = Settings
    field: FieldInfo | None = None
    names: list[str] = []
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            names = list(model.model_fields)
            field = model.model_fields.get(part)
            model = None if field is None else field.annotation
        else:
            # A table of our users' own names, such as [api.keys]: what counts is what stands under a name.
            model = get_args(model)[-1] if get_origin(model) is dict else None
    return field, names


def _is_json(path: tuple[str, ...]) -> bool:
    """Whether a path leads to an object: a table of our users' own names, or an entry in one that is itself a table."""
    field, _names = _field(path)
    if field is None:
        return False
    if field is _field(path[:-1])[0]:
        return issubclass(get_args(field.annotation)[-1], BaseModel)
    return get_origin(field.annotation) is dict


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _wrong_variables() -> Iterator[str]:
    """Sentences on variables that look like settings and are none, or are not the JSON that their setting needs."""
    for variable, value in sorted(os.environ.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        path = tuple(variable.removeprefix(ENVIRONMENT_PREFIX).lower().split(DELIMITER))
        field, _names = _field(path)
        if path[0] not in Settings.model_fields:
            # Others may share the prefix, but not the delimiter.
            if len(path) > 1:
                yield f"environment variable {variable}: there is no such setting{_suggestion(path[0], _sections())}"
        elif field is not None and (len(path) == 1 or _is_json(path)):
            try:
                json.loads(value)
            except ValueError:
                yield f"environment variable {variable}: is not JSON; right is an object in JSON"


def _sections() -> list[str]:
    return list(Settings.model_fields)
