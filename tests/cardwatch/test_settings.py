"""Settings: layers, and what a person is told about a wrong one."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cardwatch.errors import SettingsError
from cardwatch.settings import SHIPPED_FILE, load_settings, shipped_toml

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CARDWATCH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "my.toml"


def test_the_shipped_file_holds_every_default() -> None:
    """A user who reads configs/cardwatch.toml sees every setting; only secrets have no default there."""
    shipped = shipped_toml(SHIPPED_FILE)
    settings = load_settings()
    missing = {
        f"{section}.{name}"
        for section, field in type(settings).model_fields.items()
        for name in getattr(field.annotation, "model_fields", {})
        if name not in shipped[section]
    }
    secrets = {"detector.fingerprint_key", "api.session_secret", "desk.code_secret"}
    assert missing == secrets | {
        "notices.webhook_secret",
        "notices.smtp_password",
        "oidc.client_secret",
        "kafka.embedded",
    }


def test_later_layers_win(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped file < --config < environment < flags, setting by setting."""
    config.write_text("[kafka]\npartitions = 12\ngroup_prefix = 'mine'\n[api]\nport = 1\n", "utf-8")
    monkeypatch.setenv("CARDWATCH_KAFKA__GROUP_PREFIX", "theirs")
    monkeypatch.setenv("CARDWATCH_API__PORT", "2")
    settings = load_settings(config, {"api": {"port": 3}})
    assert (settings.kafka.partitions, settings.kafka.group_prefix, settings.api.port) == (12, "theirs", 3)
    assert settings.redis.shards == 16


def test_tables_of_own_names_are_merged(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password may come from the environment while the rest of [kafka.client] stands in the file."""
    config.write_text('[kafka.client]\n"sasl.username" = "me"\n', "utf-8")
    monkeypatch.setenv("CARDWATCH_KAFKA__CLIENT", '{"sasl.password": "p"}')
    assert load_settings(config).kafka.client_options() == {"sasl.username": "me", "sasl.password": "p"}


def leaves() -> list[tuple[str, str, str]]:
    """Section, name and shipped value, as a variable has it, of every setting that is no table."""
    found = []
    for section, table in shipped_toml(SHIPPED_FILE).items():
        for name, value in table.items():
            if not isinstance(value, dict):
                found.append((section, name, str(value).lower() if isinstance(value, bool) else str(value)))
    return found


def by_section() -> Iterator[tuple[str, Iterator[tuple[str, str, str]]]]:
    return itertools.groupby(leaves(), key=lambda leaf: leaf[0])


@pytest.mark.parametrize("where", ["environment", "secrets"])
def test_every_setting_may_come_from_the_environment_or_a_file_of_secrets(
    where: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them wins over a file of settings in which all are wrong; only tables are merged instead."""
    shipped = load_settings()
    folder = tmp_path / "secrets"
    folder.mkdir()
    lines = [f"[{section}]\n" + "\n".join(f"{name} = [1]" for _, name, _ in group) for section, group in by_section()]
    config.write_text("\n".join(lines), "utf-8")
    with pytest.raises(SettingsError) as raised:
        load_settings(config)
    assert len(str(raised.value).splitlines()) == len(leaves()) > 60
    for section, name, value in leaves():
        if where == "environment":
            monkeypatch.setenv(f"CARDWATCH_{section}__{name}".upper(), value)
        else:
            (folder / f"{section}__{name}").write_text(value, "utf-8")
    monkeypatch.setenv("CARDWATCH_SECRETS_DIR", str(folder))
    assert load_settings(config).model_dump() == shipped.model_dump()


def test_secrets_come_from_files(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orchestrators mount a file for each secret: stronger than the file of settings, weaker than the environment."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "..data").mkdir()
    (folder / "redis__url").write_text("redis://:pw@redis:6379/0\n", "utf-8")
    (folder / "KAFKA__CLIENT").write_text('{"sasl.password": "p"}', "utf-8")
    (folder / "detector__fingerprint_key").write_text("ab" * 16, "utf-8")
    monkeypatch.setenv("CARDWATCH_SECRETS_DIR", str(folder))
    monkeypatch.setenv("CARDWATCH_DETECTOR__FINGERPRINT_KEY", "cd" * 16)
    config.write_text("[redis]\nurl = 'redis://other:1/0'\nshards = 4\n", "utf-8")
    settings = load_settings(config)
    assert settings.redis.url.get_secret_value() == "redis://:pw@redis:6379/0"
    assert settings.redis.shards == 4
    assert settings.kafka.client_options() == {"sasl.password": "p"}
    assert settings.detector.fingerprint_key.get_secret_value() == "cd" * 16


def test_each_entry_of_a_table_may_be_a_secret_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password as it is, without JSON around it; an entry that is a table is JSON."""
    (tmp_path / "kafka__client__sasl.password").write_text('p"w\n', "utf-8")
    (tmp_path / "api__keys__till").write_text(json.dumps({"role": "payment_system", "sha256": "ab" * 32}), "utf-8")
    monkeypatch.setenv("CARDWATCH_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("CARDWATCH_KAFKA__CLIENT__SASL.USERNAME", "me")
    settings = load_settings()
    assert settings.kafka.client_options() == {"sasl.username": "me", "sasl.password": 'p"w'}
    assert settings.api.keys["till"].role == "payment_system"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("redis__ulr", SECRET, r"CARDWATCH_SECRETS_DIR: redis__ulr: there is no such setting; did you mean url\?"),
        ("redis", SECRET, r"CARDWATCH_SECRETS_DIR: redis: there is no such setting"),
        ("kafka__client", SECRET, r"CARDWATCH_SECRETS_DIR: kafka__client: is not JSON"),
        ("redis__url", SECRET, r"redis\.url \(a file of CARDWATCH_SECRETS_DIR\)"),
    ],
)
def test_a_wrong_secret_is_named_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, message: str
) -> None:
    """The file is named, its content never."""
    (tmp_path / name).write_text(content, "utf-8")
    monkeypatch.setenv("CARDWATCH_SECRETS_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match=message) as raised:
        load_settings()
    assert SECRET not in str(raised.value)


def test_a_directory_of_secrets_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that failed is no reason to run with defaults."""
    monkeypatch.setenv("CARDWATCH_SECRETS_DIR", "/nowhere/at/all")
    with pytest.raises(SettingsError, match="CARDWATCH_SECRETS_DIR: cannot be read"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[kafka]\npartitions = 0", r"kafka\.partitions \(.*my\.toml\): .*equal to 1; right is .* 1 to 1024"),
        ("[kafka]\npartition = 8", r"kafka\.partition \(.*my\.toml\): .* no such setting; did you mean partitions\?"),
        ("[kafk]\npartitions = 8", r"kafk \(.*my\.toml\): there is no such setting; did you mean kafka\?"),
        ("[kafka]\nbootstrap_servers = 'localhost'", r"kafka\.bootstrap_servers .* right is host:port,host:port"),
        ("[redis]\nurl = 'redis-1:6379'", r"redis\.url .* right is redis://host:6379/0"),
        ("[redis]\nurl = 'redis://redis-1:port'", r"redis\.url .* right is redis://host:6379/0"),
        ("[redis]\nshards = 12", r"redis\.shards .* right is a power of two up to 4096"),
        ("[api.keys.kim]\nrole = 'boss'\nsha256 = '0'", r"(?s)api\.keys\.kim\.role .*agent.*api\.keys\.kim\.sha256"),
        ("[kafka\n", r"my\.toml: is not TOML: .*line 1"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_what_would_be_right(config: Path, text: str, message: str) -> None:
    """Each wrong setting gets a line: its name, its file, what is wrong, what would be right."""
    config.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=message):
        load_settings(config)


def test_all_wrong_settings_are_named_at_once(config: Path) -> None:
    """Nobody has to start five times to correct five settings."""
    config.write_text("[kafka]\npartitions = 0\n[api]\nport = 70000\n", "utf-8")
    with pytest.raises(SettingsError, match=r"(?s)kafka\.partitions.*\n.*api\.port|api\.port.*\n.*kafka\.partitions"):
        load_settings(config)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CARDWATCH_KAFKA__PARTITIONS", "many", r"kafka\.partitions \(environment .*__PARTITIONS\): "),
        ("CARDWATCH_KAFKA__CLIENT", "{", r"environment variable CARDWATCH_KAFKA__CLIENT: is not JSON"),
        ("CARDWATCH_KAFKA", "{", r"environment variable CARDWATCH_KAFKA: is not JSON"),
        ("CARDWATCH_KAKFA__PARTITIONS", "8", r"CARDWATCH_KAKFA__PARTITIONS: there is no such .* did you mean kafka\?"),
        ("CARDWATCH_KAFKA__PARTITION", "8", r"kafka\.partition .* did you mean partitions\?"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake in the environment does not silently mean the default."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_other_variables_with_the_prefix_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Makefile's and the tests' own variables are no settings."""
    monkeypatch.setenv("CARDWATCH_KAFKA_LIBS", "/somewhere")
    load_settings()


@pytest.mark.parametrize(
    "tree",
    [
        {"detector": {"fingerprint_key": SECRET}},
        {"api": {"session_secret": SECRET}},
        {"kafka": {"bootstrap_servers": SECRET}},
        {"kafka": {"client": {"sasl.password": [SECRET]}}},
        {"redis": {"url": [f"redis://:{SECRET}@host"]}},
        {"redis": {"shards": SECRET}},
        {"nothing": SECRET},
    ],
)
def test_what_was_given_is_never_repeated(tree: dict[str, object]) -> None:
    """A secret in the wrong place does not reach a terminal or a log."""
    with pytest.raises(SettingsError) as caught:
        load_settings(flags=tree)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_secrets_do_not_show() -> None:
    """Printing the settings shows no secret."""
    flags = {
        "kafka": {"client": {"sasl.password": SECRET}},
        "redis": {"url": f"redis://:{SECRET}@host"},
        "detector": {"fingerprint_key": "0123456789abcdef" * 2},
        "api": {"session_secret": "0123456789abcdef" * 4},
    }
    shown = repr(load_settings(flags=flags))
    assert SECRET not in shown
    assert "0123456789abcdef" not in shown


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The file of --config must exist."""
    with pytest.raises(SettingsError, match=r"absent\.toml: cannot be read \(No such file"):
        load_settings(tmp_path / "absent.toml")
