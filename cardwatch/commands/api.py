"""`cardwatch api`: the HTTP service and the agents' console."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from api.app import create_app
from api.console.desk_words import DeskWords
from api.console.language import Language, flat_texts
from api.console.rendering import LANGUAGE_NAMES
from api.console.words import reason_texts
from api.context import ApiSettings
from api.errors import ApiError
from api.health import Health
from api.keys import ApiKeys
from cardwatch import wiring
from cardwatch.commands.common import layers_of, log_to_stderr
from cardwatch.embedded import DataDirectory
from cardwatch.errors import EXIT_OK, ServiceError, SettingsError
from cardwatch.metrics import write_url
from cardwatch.services import connected
from cardwatch.settings import Settings, configured_toml, shipped_toml
from cardwatch.vitals import certificate_files
from casework.errors import CaseworkError, StoreAccessError, StoreEmptyError, StoreSetupError, StoreUnavailableError
from casework.webhook_book import WebhookBook
from detector.errors import DetectorError
from streams.access import file_problem
from streams.clock import epoch_ms
from telemetry import collector
from telemetry.exposition import process_registry
from telemetry.metric import Process
from telemetry.process import ProcessMetrics

if TYPE_CHECKING:
    from cardwatch.waiting import Waiting

_GRACE_S = 5
# Payment systems keep connections for bursts; one that is closed just as it is used again costs them a payment's time.
_KEEP_ALIVE_S = 75
_BACKLOG = 2048
_HOUR_MS = 3_600_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cardwatch api`."""
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default 8080)")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        CardwatchError: settings are wrong, or the port is taken.
    """
    given = {name: getattr(args, name) for name in ("host", "port") if getattr(args, name) is not None}
    settings = connected(layers_of(args).with_flags({"api": given} if given else {}), kafka=False)
    log_to_stderr(settings)
    app = application(settings)
    _require_certificate(settings)
    asyncio.run(_refuse_another_setup(settings))
    own, data = settings.api, DataDirectory(settings.data.directory)
    with _listen(own.host, own.port) as listener:
        url = write_url(data, "api", own.host, listener.getsockname()[1], tls=bool(own.tls_certificate))
        print(f"cardwatch api: {url}, the console at {url}/console", flush=True)
        # The service has a request log of its own, which writes no paths of cards down.
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            server_header=False,
            # Whoever is not named may say what they like of where a request came from.
            proxy_headers=bool(own.trusted_proxies),
            forwarded_allow_ips=own.trusted_proxies,
            ssl_certfile=own.tls_certificate or None,
            ssl_keyfile=own.tls_key or None,
            timeout_graceful_shutdown=_GRACE_S,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        collector.settle()
        uvicorn.Server(config).run(sockets=[listener])
    return EXIT_OK


def _require_certificate(settings: Settings) -> None:
    """Find out before serving whether there is a certificate with its key, where one is named.

    Raises:
        SettingsError: a file cannot be read, or they are not what they should be.
    """
    own = settings.api
    if not own.tls_certificate:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            own.tls_certificate, own.tls_key, lambda: ""
        )
    except OSError as error:  # an SSLError is one
        what = file_problem(error)
        message = f"api.tls_certificate, api.tls_key: {what}; right are a certificate and its key, both in PEM"
        raise SettingsError(message) from None


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is served from it.

    Raises:
        ServiceError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        message = f"the API cannot listen on {host}:{port} ({os.strerror(error.errno or 0)}); choose another --port"
        raise ServiceError(message) from error


async def _refuse_another_setup(settings: Settings) -> None:
    """Find out before serving whether Redis was set up otherwise.

    One that is away is waited for by /readyz, and so is one that the respond role has not set up yet: only that role
    looks into Kafka first, whether Redis should hold something.

    Raises:
        SettingsError: it was set up for another number of shards.
        ServiceError: it does not let us in.
    """
    store = wiring.redis_store(settings)
    try:
        await store.open(create=False)
    except StoreAccessError as error:
        raise ServiceError(str(error)) from None
    except (StoreUnavailableError, StoreEmptyError):
        pass
    except StoreSetupError as error:
        message = f"redis.shards: {error}"
        raise SettingsError(message) from None
    finally:
        await store.close()


def desk_languages(settings: Settings) -> dict[str, Language]:
    """What agents read, in every language that ships; `[files] messages` replaces the reasons of `[api] locale`.

    Raises:
        SettingsError: a file cannot be read.
        ValueError: a sentence is missing, or its unit is not known.
    """
    languages = {}
    for locale in LANGUAGE_NAMES:
        name = f"messages/reasons.{locale}.toml"
        is_own = locale == settings.api.locale
        reasons = configured_toml(settings.files.messages, name) if is_own else shipped_toml(name)
        languages[locale] = Language(
            locale,
            flat_texts(shipped_toml(f"messages/console.{locale}.toml")),
            reason_texts(reasons),
            DeskWords.from_mapping(shipped_toml(f"messages/desk.{locale}.toml")),
        )
    return languages


def minor_rates(settings: Settings) -> dict[str, float]:
    """What a minor unit of each currency is worth in minor units of the reference currency.

    Raises:
        SettingsError: the file cannot be read.
    """
    given = configured_toml(settings.files.rates, "rates.toml")
    currencies = given["currencies"]
    reference = currencies[given["reference_currency"]]["exponent"]
    return {name: each["rate"] * 10.0 ** (reference - each["exponent"]) for name, each in currencies.items()}


def application(settings: Settings) -> FastAPI:
    """The service on the configured Redis.

    Raises:
        SettingsError: a setting is wrong.
    """
    try:
        store = wiring.redis_store(settings)
        desk = wiring.desk(settings, store)
        registry = process_registry()
        waiting = _waiting(settings, registry)
        history = wiring.history(settings)
        notices = wiring.notice_memory(settings)
        memory = wiring.session_memory(settings)
        told, replays = wiring.webhook_log(settings), wiring.replays(settings)
        ProcessMetrics(registry, Process.API, certificate_files(settings))
        app = create_app(
            desk,
            ApiKeys.from_mapping({name: dict(key) for name, key in settings.api.keys.items()}),
            Health({"redis": desk.ping}),
            registry,
            epoch_ms,
            ApiSettings(
                session_secret=wiring.session_secret(settings),
                session_lifetime_ms=settings.api.session_hours * _HOUR_MS,
                issuer_token_pattern=wiring.issuer_token_pattern(settings),
                metrics_need_key=settings.api.metrics_need_key,
                languages=desk_languages(settings),
                locale=settings.api.locale,
                rates=minor_rates(settings),
                desk_url=settings.oidc.desk_url,
                links=wiring.links(settings),
            ),
            memory,
            waiting,
            history,
            notices,
            wiring.identity_provider(settings, epoch_ms),
            WebhookBook(wiring.configured_endpoints(settings), told, replays, store, desk.authority),
        )
    except (ApiError, CaseworkError, DetectorError, ValueError) as error:
        raise SettingsError(str(error)) from error

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if waiting is not None:
            waiting.start()
        yield
        if waiting is not None:
            await waiting.stop()
        await asyncio.to_thread(history.close)
        await notices.close()
        for each in (memory, told, replays, store):
            await each.close()

    app.router.lifespan_context = lifespan
    return app


def _waiting(settings: Settings, registry: CollectorRegistry) -> Waiting | None:
    """What decides payments for callers that wait; None without a Kafka. The desk works without it.

    Raises:
        SettingsError: a setting or file is wrong.
        detector.errors.ConfigurationError: the content of a file is wrong.
    """
    if not settings.kafka.bootstrap_servers:
        return None
    from cardwatch.stream_settings import stream_settings  # noqa: PLC0415  seconds that a desk without Kafka does not need
    from cardwatch.waiting import Waiting  # noqa: PLC0415  the same

    return Waiting(settings, stream_settings(settings, f"api-{socket.gethostname()}-{os.getpid()}"), registry)
