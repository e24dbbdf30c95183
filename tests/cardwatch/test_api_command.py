"""`cardwatch api` as a process, on a Redis started for the test."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from api.console.sessions import COOKIE_NAME
from cardwatch.cli import main
from cardwatch.commands.api import desk_languages, minor_rates
from cardwatch.desk_client import DeskClient
from cardwatch.embedded import DataDirectory, redis_spec, redis_url
from cardwatch.errors import StoryError
from cardwatch.metrics import PROCESS_VARIABLE, read_url
from cardwatch.services import Layers
from cardwatch.settings import load_settings
from cardwatch.supervisor import ProcessSpec, Supervisor
from casework.adapters.redis_connection import ConnectionPolicy, RedisAddress, RedisConnection, connect
from casework.adapters.redis_outboxes import RedisStoreSettings
from casework.adapters.redis_store import RedisStore
from tests.api.conftest import listening, serving
from tests.api.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider
from tests.services.certificates import Authority

KEY = "an agent's key"
SECRETS = {"session_secret": "ab" * 32}


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return directory


async def set_up(data: DataDirectory) -> None:
    """Set Redis up, as the respond role does before the API is ready."""
    policy = ConnectionPolicy()
    connection = RedisConnection(connect(RedisAddress(redis_url(data)), policy), policy)
    store = RedisStore(connection, RedisStoreSettings())
    await store.open(create=True)
    await store.close()


@pytest.fixture
def redis(data: DataDirectory) -> Iterator[Supervisor]:
    tree = Supervisor(data.logs, say=print)
    try:
        tree.start(redis_spec(data))
        asyncio.run(set_up(data))
        yield tree
    finally:
        tree.stop()


def ready(data: DataDirectory) -> bool:
    url = read_url(data, "api")
    try:
        return url is not None and httpx.get(f"{url}/readyz", timeout=2).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize(
    ("locale", "reason", "action"),
    [("en", "High amount", "Note"), ("fil", "Mataas ang halaga", "Tala"), ("zh", "金额较高", "备注")],
)
def test_the_desk_speaks_the_configured_language(locale: str, reason: str, action: str) -> None:
    """Agents read reasons and actions in the language of `[api] locale`."""
    language = desk_languages(load_settings(flags={"api": {"locale": locale}}))[locale]
    assert (language.locale, language.reason("amount_high")) == (locale, reason)
    assert language.desk_words.action("note")[0] == action


def test_rates_compare_minor_units() -> None:
    """A yen is worth more than a cent of it would be: exponents are part of the rate."""
    rates = minor_rates(load_settings())
    assert rates["EUR"] == 1.0
    assert 0.1 < rates["JPY"] < 10.0


def test_own_sentences_come_before_those_of_the_language(tmp_path: Path) -> None:
    """A file that `[files] messages` names is read whatever the language."""
    own = tmp_path / "own.toml"
    own.write_text('[amount_high]\nsentence = "A great deal of money"\nunit = "money"\n', "utf-8")
    languages = desk_languages(load_settings(flags={"api": {"locale": "zh"}, "files": {"messages": str(own)}}))
    assert languages["zh"].reason("amount_high") == "A great deal of money"
    assert languages["en"].reason("amount_high") == "High amount"


def test_the_service_answers_an_agent(data: DataDirectory, redis: Supervisor) -> None:
    """From settings alone: on a free port, with the configured keys, on the configured Redis; it ends on SIGTERM."""
    keys = {"kim": {"role": "agent", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}}
    layers = Layers(
        flags={
            "data": {"directory": str(data.root)},
            "redis": {"url": redis_url(data)},
            "api": {"port": 0, "keys": keys} | SECRETS,
            "desk": {"code_secret": SECRETS["session_secret"]},
        }
    )
    command = (sys.executable, "-m", "cardwatch", "api")
    redis.start(
        ProcessSpec("api", command, layers.environment() | {PROCESS_VARIABLE: "api"}, ready=partial(ready, data))
    )
    url = read_url(data, "api")
    assert url is not None
    agent = DeskClient(url, KEY)
    assert agent.card("tok_1")["state"] == "active"
    assert agent.open_cases() == []
    agent.close()
    stranger = DeskClient(url, "another")
    with pytest.raises(StoryError, match="the API answered 401"):
        stranger.card("tok_1")
    stranger.close()
    assert "process_resident_memory_bytes" in httpx.get(f"{url}/metrics", timeout=5).text
    log = redis.log_path("api")
    redis.stop()
    written = log.read_text("utf-8")
    assert "Finished server process" in written
    assert KEY not in written
    assert "tok_1" not in written


def test_whoever_signed_in_at_one_process_is_known_to_all(data: DataDirectory, redis: Supervisor) -> None:
    """Sessions are in Redis: opened at one process, ended at another; no secret of theirs is in a log."""
    urls = []
    with listening() as (listener, port):
        provider = IdentityProvider(issuer=f"http://127.0.0.1:{port}/realms/staff")
        for name in ("one", "two"):
            directory = DataDirectory(data.root / name)
            directory.create()
            layers = Layers(
                flags={
                    "data": {"directory": str(directory.root)},
                    "redis": {"url": redis_url(data)},
                    "api": {"port": 0} | SECRETS,
                    "desk": {"code_secret": SECRETS["session_secret"]},
                    "oidc": {
                        "issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
                        "desk_url": "http://localhost:8080", "roles": {"fraud-senior": "senior_agent"},
                    },
                }
            )  # fmt: skip
            environment = layers.environment() | {PROCESS_VARIABLE: "api"}
            command = (sys.executable, "-m", "cardwatch", "api")
            redis.start(ProcessSpec(name, command, environment, ready=partial(ready, directory)))
            urls.append(f"{read_url(directory, 'api')}/console")
        with serving(provider.app(), listener), httpx.Client(timeout=10) as browser:
            there = browser.get(f"{urls[0]}/sign-in/provider").headers["location"]
            back = browser.get(f"{there}&person=ann").headers["location"]
            answer = browser.get(f"{urls[0]}/sign-in/callback?{back.partition('?')[2]}")
            assert answer.status_code == 200, answer.text
            cookie = browser.cookies[COOKIE_NAME]
            page = browser.get(urls[1])
            assert "ann@bank.test" in page.text
            token = re.findall(r'name="form_token" value="([^"]*)"', page.text)[0]
            assert browser.post(f"{urls[1]}/sign-out", data={"form_token": token}).status_code == 200
            browser.cookies.set(COOKIE_NAME, cookie)
            assert browser.get(urls[0]).status_code == 303
    logs = [redis.log_path(name) for name in ("one", "two")]
    redis.stop()
    written = "".join(log.read_text("utf-8") for log in logs)
    assert "/console/sign-in/callback" in written
    for secret in (CLIENT_SECRET, cookie, back.partition("code=")[2].partition("&")[0]):
        assert secret not in written


def _served(redis: Supervisor, data: DataDirectory, name: str, **api: object) -> str:
    """Start a process with a key for an agent and these settings; its URL."""
    directory = DataDirectory(data.root / name)
    directory.create()
    keys = {"kim": {"role": "agent", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}}
    layers = Layers(
        flags={
            "data": {"directory": str(directory.root)},
            "redis": {"url": redis_url(data)},
            "api": {"port": 0, "keys": keys} | SECRETS | api,
            "desk": {"code_secret": SECRETS["session_secret"]},
        }
    )
    command = (sys.executable, "-m", "cardwatch", "api")
    environment = layers.environment() | {PROCESS_VARIABLE: "api"}
    redis.start(ProcessSpec(name, command, environment, ready=lambda: read_url(directory, "api") is not None))
    return str(read_url(directory, "api"))


def _session_cookie(client: httpx.Client, url: str, headers: dict[str, str]) -> str:
    """The header with which the console sets the session's cookie."""
    return client.post(f"{url}/console/sign-in", data={"api_key": KEY}, headers=headers).headers["set-cookie"]


def test_the_service_speaks_tls(data: DataDirectory, redis: Supervisor, tmp_path: Path) -> None:
    """With a certificate of its own: clients that trust its authority are served, cookies are for TLS alone."""
    authority = Authority(tmp_path / "authority")
    own = authority.issue("api")
    url = _served(redis, data, "tls", tls_certificate=str(own.certificate), tls_key=str(own.key))
    assert url.startswith("https://")
    with httpx.Client(verify=ssl.create_default_context(cafile=str(authority.file)), timeout=10) as client:
        assert client.get(f"{url}/livez").status_code == 200
        assert "; secure" in _session_cookie(client, url, {}).lower()
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"{url}/livez", timeout=10)


def test_a_proxy_is_believed_only_where_it_is_named(data: DataDirectory, redis: Supervisor) -> None:
    """Anybody can say that a request came over TLS; that counts from a named address alone."""
    said = {"x-forwarded-proto": "https"}
    with httpx.Client(timeout=10) as client:
        for name, proxies, is_believed in (
            ("none", "", False),
            ("other", "10.0.0.0/8", False),
            ("own", "10.0.0.0/8, 127.0.0.0/8", True),
        ):
            url = _served(redis, data, name, trusted_proxies=proxies)
            assert ("; secure" in _session_cookie(client, url, said).lower()) is is_believed, name
            assert "; secure" not in _session_cookie(client, url, {}).lower()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls_certificate": "here.pem"}, "need each other"),
        ({"tls_certificate": "nowhere.pem", "tls_key": "nowhere.key"}, "right are a certificate and its key"),
        ({"trusted_proxies": "proxy.bank.example"}, "no IP address and no network"),
    ],
)
def test_a_wrong_certificate_or_proxy_stops_the_start(
    given: dict[str, str], said: str, data: DataDirectory, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Exit code 2, with what would be right, before anything is served."""
    monkeypatch.setenv("CARDWATCH_API__SESSION_SECRET", SECRETS["session_secret"])
    monkeypatch.setenv("CARDWATCH_DESK__CODE_SECRET", SECRETS["session_secret"])
    for name, value in given.items():
        monkeypatch.setenv(f"CARDWATCH_API__{name.upper()}", value)
    assert main(["api", "--port", "0", "--redis", redis_url(data), "--data-dir", str(data.root)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("redis")
def test_a_taken_port_is_named(
    data: DataDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, and which port."""
    monkeypatch.setenv("CARDWATCH_API__SESSION_SECRET", SECRETS["session_secret"])
    monkeypatch.setenv("CARDWATCH_DESK__CODE_SECRET", SECRETS["session_secret"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["api", "--port", port, "--redis", redis_url(data), "--data-dir", str(data.root)]
        assert main(arguments) == 3
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.usefixtures("redis")
def test_a_redis_with_other_shards_is_refused(
    data: DataDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards are fixed at set-up; another number ends the start with exit code 2, before anything is served."""
    monkeypatch.setenv("CARDWATCH_API__SESSION_SECRET", SECRETS["session_secret"])
    monkeypatch.setenv("CARDWATCH_DESK__CODE_SECRET", SECRETS["session_secret"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["api", "--port", port, "--redis", redis_url(data), "--data-dir", str(data.root)]
        assert main(arguments) == 3
        monkeypatch.setenv("CARDWATCH_REDIS__SHARDS", "4")
        assert main(arguments) == 2
    assert "redis.shards: Redis is set up for" in capsys.readouterr().err


def test_a_missing_secret_is_named(
    data: DataDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how to make one, for each of the two."""
    assert main(["api", "--redis", redis_url(data), "--data-dir", str(data.root)]) == 2
    assert "desk.code_secret: missing; right are 64 lower-case hex digits" in capsys.readouterr().err
    monkeypatch.setenv("CARDWATCH_DESK__CODE_SECRET", SECRETS["session_secret"])
    assert main(["api", "--redis", redis_url(data), "--data-dir", str(data.root)]) == 2
    assert "api.session_secret: missing; right are 64 lower-case hex digits" in capsys.readouterr().err
