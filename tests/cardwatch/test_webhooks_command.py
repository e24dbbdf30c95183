"""Webhooks as an operator sees them: settings, `cardwatch webhooks`, and what the doctor says."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cardwatch import diagnosis, wiring
from cardwatch.cli import main
from cardwatch.diagnosis import Grade
from cardwatch.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, SettingsError
from cardwatch.roles import WebhookWithLog
from cardwatch.settings import Settings, load_settings
from cardwatch.stream_settings import stream_settings
from casework.outbox import AUDIT_TOPIC
from casework.replays import Replay, ReplayOf
from casework.store import Store
from casework.webhook_log import Disabled, Line, Outcome
from casework.webhooks import CARD_KINDS
from streams.metrics import StreamMetrics
from streams.topic_tail import read_since
from streams.topics import CASES
from tests.contracts.servers import bundled_server
from tests.services.webhook_receiver import Receiver, receiving
from tests.streams.kafka_world import World, mock_world, running
from tests.streams.stand_in import KEY
from tests.streams.test_webhooks import STORY, tell

OLD, NEW = (f"whsec_{base64.b64encode(letter * 32).decode()}" for letter in (b"o", b"n"))
BANK = f"""
[webhooks.endpoints.bank]
url = "https://bank.example/hooks"
events = ["card.*", "case.closed"]
secret = "{NEW}"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "my.toml"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    with bundled_server(tmp_path) as url:
        yield url


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with mock_world(f"file://{tmp_path}/checkpoints") as made:
        yield made


def test_an_endpoint_is_what_its_settings_say(config: Path) -> None:
    """Groups of kinds are spelt out, both secrets sign while they change, and one that is not active is left alone."""
    rest = '[webhooks.endpoints.ledger]\nurl = "https://l.example/"\nevents = ["case.*"]\nactive = false\n'
    config.write_text(f'{BANK}old_secret = "{OLD}"\n{rest}secret = "{OLD}"\n', "utf-8")
    (bank,) = wiring.endpoints(load_settings(config))
    assert (bank.name, bank.secrets, bank.may_be_private) == ("bank", (b"n" * 32, b"o" * 32), False)
    assert bank.kinds == {*CARD_KINDS, "case.closed"}
    assert NEW not in repr(bank)


def test_a_secret_may_come_from_a_file(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As orchestrators mount them; the rest stands in the file of settings."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "webhooks__endpoints__bank__secret").write_text(f"{OLD}\n", "utf-8")
    monkeypatch.setenv("CARDWATCH_SECRETS_DIR", str(folder))
    config.write_text(BANK.replace(f'secret = "{NEW}"', ""), "utf-8")
    (bank,) = wiring.endpoints(load_settings(config))
    assert bank.secrets == (b"o" * 32,)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (f'secret = "{NEW}"', "", "its secret is missing"),
        (NEW, "whsec_c2VjcmV0", "base64 of 24 to 64 bytes"),
        ("case.closed", "case.close", "'case.close' is no kind of event"),
        ("https://bank", "http://bank", "unless it is private"),
        ("https://bank", "https://user:pw@bank", "another form"),
        ("bank.example", "bank.example:99999", "it is no address"),
        ("endpoints.bank", "endpoints.Bank", "endpoints.Bank"),
        ("events", "event", "did you mean events"),
    ],
)
def test_a_wrong_endpoint_is_named_with_what_would_be_right(config: Path, right: str, wrong: str, message: str) -> None:
    """Before anything starts, and nothing secret is repeated."""
    config.write_text(BANK.replace(right, wrong), "utf-8")
    with pytest.raises(SettingsError, match=message) as raised:
        load_settings(config)
    assert "c2VjcmV0" not in str(raised.value)
    assert "pw@" not in str(raised.value)


def test_an_endpoint_is_tried_shown_replayed_and_enabled(
    config: Path, redis: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an operator does about one that was away for too long."""

    async def play() -> None:
        async with receiving(Receiver()) as receiver, AsyncExitStack() as stack:
            config.write_text(  # noqa: ASYNC240 - nobody waits here
                f'[detector]\nfingerprint_key = "{KEY.hex()}"\n[kafka]\nembedded = true\npartitions = 4\n'
                f'bootstrap_servers = "{world.settings.bootstrap_servers}"\n[redis]\nurl = "{redis}"\n'
                f"{BANK.replace('https://bank.example/hooks', receiver.url)}private = true\n",
                "utf-8",
            )

            async def command(*words: str) -> tuple[int, str]:
                code = await asyncio.to_thread(main, ["webhooks", "--config", str(config), *words])
                said = capsys.readouterr()
                return code, said.out + said.err

            log = wiring.webhook_log(load_settings(config))
            stack.push_async_callback(log.close)
            ids = tell(world)
            read = await asyncio.to_thread(lambda: list(read_since(world.settings, (CASES,), 0)))
            (stood, *_) = [each for each in read if b'"type":"closed"' in (each.value or b"")]
            lost = dict(stood.headers)["ce_id"] or b""
            line = Line(
                lost.decode(), "case.closed", STORY[0].time_ms, 5, 6, Outcome.REFUSED, "HTTP 400", CASES,
                stood.partition, stood.offset,
            )  # fmt: skip
            await log.write("bank", line)
            await log.disable("bank", Disabled(5, "it answered 410 Gone"))
            code, said = await command("list")
            assert code == EXIT_OK
            assert "1 untold  disabled since 1970-01-01 00:00:00 UTC: it answered 410 Gone" in said
            assert "/hooks" not in said
            assert (await command("show", "bank"))[1].endswith("refused after 6: HTTP 400\n")
            code, said = await command("test", "bank")
            assert (code, receiver.received[-1].told["type"]) == (EXIT_OK, "webhook.test")
            store = wiring.redis_store(load_settings(config))
            stack.push_async_callback(store.close)
            await store.open(create=True)
            await stack.enter_async_context(running(_telling(load_settings(config))))
            why = ("--reason", "They lost it.", "--actor", "olga")
            code, said = await command("replay", "bank", "--untold", *why)
            assert (code, said.splitlines()[0]) == (EXIT_OK, "bank: 1 told, 0 refused")
            assert receiver.ids()[-1] == lost.decode()
            code, said = await command("replay", "bank", "--since", "2025-01-01T00:00Z", *why)
            assert (code, said.splitlines()[0]) == (EXIT_OK, "bank: 4 told, 0 refused")
            assert set(receiver.ids()[2:]) <= set(ids)
            gone = msgspec.structs.replace(line, webhook_id="event-gone", offset=10**6)
            await log.write("bank", gone)
            code, said = await command("replay", "bank", "--untold", *why)
            assert said.splitlines()[0] == "bank: 0 told, 0 refused, 1 no longer to be told"
            await log.write("bank", msgspec.structs.replace(gone, outcome=Outcome.DELIVERED))
            assert (await command("enable", "bank", *why))[0] == EXIT_OK
            assert "0 untold  told" in (await command("list"))[1]
            receiver.reply = lambda _received: 503
            code, said = await command("test", "bank")
            assert (code, said) == (EXIT_FAILED, "cardwatch webhooks: bank: unavailable, HTTP 503\n")
            assert (await command("replay", "bank", "--since", "2025-01-01T00:00Z", *why))[0] == EXIT_FAILED
            assert (await command("replay", "bank", "--untold", "--before", "2025-01-01T00:00Z", *why))[0] == EXIT_USAGE
            assert (await command("show", "ledger"))[0] == EXIT_USAGE
            kinds = [kind for kind, by, reason in await _audited(store) if (by, reason) == ("olga", "They lost it.")]
            assert kinds == ["replayed"] * 3 + ["enabled", "replayed"]

    asyncio.run(play())


def _telling(settings: Settings) -> WebhookWithLog:
    """What the notify process runs for the endpoint."""
    (endpoint,) = wiring.endpoints(settings)
    return WebhookWithLog(
        endpoint, settings, stream_settings(settings, "notify-1"), StreamMetrics(CollectorRegistry())
    )  # fmt: skip


async def _audited(store: Store) -> list[tuple[str, str, str]]:
    """What the audit was told, in its order: what was done, by whom, why."""
    entries = (await store.first_entries(range(store.shards), 100)).values()
    told = [msgspec.json.decode(entry.value) for each in entries for entry in each if entry.topic == AUDIT_TOPIC]
    told.sort(key=lambda event: event["time_ms"])
    return [(event["kind"].removeprefix("webhook_endpoint_"), event["actor"], event["reason"]) for event in told]


def test_one_replay_at_a_time_and_it_can_be_cancelled(
    config: Path, redis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second command says what to do; cancelling ends the first one's, where no process has taken it too."""
    config.write_text(f'[redis]\nurl = "{redis}"\n{BANK}', "utf-8")
    settings = load_settings(config)

    async def ordered() -> None:
        store, replays = wiring.redis_store(settings), wiring.replays(settings)
        await store.open(create=True)
        assert await replays.order("bank", Replay("r-1", ReplayOf.UNTOLD, "mei", "They lost it.", 5))
        await replays.close()
        await store.close()

    def command(*words: str) -> tuple[int, str]:
        code = main(["webhooks", "--config", str(config), *words, "--reason", "Wrong endpoint.", "--actor", "olga"])
        said = capsys.readouterr()
        return code, said.out + said.err

    asyncio.run(ordered())
    code, said = command("replay", "bank", "--untold")
    assert (code, said) == (
        EXIT_FAILED,
        "cardwatch webhooks: bank: is being told again already; `cardwatch webhooks cancel bank` ends that\n",
    )
    assert command("cancel", "bank") == (EXIT_OK, "bank: cancelled after 0 told, 0 refused\n")
    assert command("cancel", "bank") == (EXIT_FAILED, "cardwatch webhooks: bank: no replay is under way\n")


def test_a_time_without_its_zone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Whose ten o'clock is meant must be said."""
    for wrong in ("2026-11-27T10:00", "ten"):
        with pytest.raises(SystemExit):
            main(["webhooks", "replay", "bank", "--since", wrong])
        assert "right is a time with its zone" in capsys.readouterr().err


def test_the_doctor_knows_endpoints(config: Path, redis: str) -> None:
    """Where a name leads, and what is disabled; a private address is wrong unless it is meant."""
    config.write_text(f'[redis]\nurl = "{redis}"\n{BANK.replace("bank.example", "127.0.0.1")}', "utf-8")
    (private,) = diagnosis.check_endpoints(load_settings(config))
    assert (private.grade, private.what) == (Grade.WRONG, "webhooks.endpoints.bank: private address")
    config.write_text(f"{config.read_text('utf-8')}private = true\n", "utf-8")
    settings = load_settings(config)
    (found,) = diagnosis.check_endpoints(settings)
    assert (found.grade, found.what) == (Grade.GOOD, "webhooks.endpoints.bank: its host is 127.0.0.1")

    async def disable() -> None:
        log = wiring.webhook_log(settings)
        await log.disable("bank", Disabled(5, "it answered 410 Gone"))
        await log.close()

    asyncio.run(disable())
    disabled = list(diagnosis.check_endpoints(settings))[-1]
    assert (disabled.grade, disabled.what) == (Grade.WRONG, "webhooks.endpoints.bank: disabled, it answered 410 Gone")
    assert "webhooks enable bank" in disabled.remedy
