"""From settings to the desk and the secrets, as the API and the workers take them. Without Numba, so it is quick."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr
from redis.connection import parse_url

from cardwatch.embedded import DataDirectory
from cardwatch.errors import SettingsError
from cardwatch.redis_sessions import RedisSessions
from cardwatch.settings import RedisSettings, Settings, configured_toml, shipped_toml
from casework.adapters.log_sender import LogSender
from casework.adapters.posting import Poster
from casework.adapters.redis_connection import ConnectionPolicy, RedisAddress, RedisClient, RedisConnection, connect
from casework.adapters.redis_notices import RedisNotices
from casework.adapters.redis_outboxes import RedisStoreSettings
from casework.adapters.redis_replays import RedisReplays
from casework.adapters.redis_restore import RestorableRedisStore
from casework.adapters.redis_webhooks import RedisWebhooks
from casework.adapters.smtp_sender import MailServer, SmtpSender
from casework.adapters.webhook_sender import WebhookSender
from casework.authority import Authority
from casework.contacts import LOCALES, Contacts
from casework.courier import CourierRules, PageLinks
from casework.desk import Desk
from casework.links import Links
from casework.notices import Messages, NoticeSender
from casework.playbook import Playbook
from casework.verification import Method
from casework.webhook_book import Configured
from casework.webhooks import Endpoint, kinds_of, secret_of

if TYPE_CHECKING:
    from api.oidc.provider import Provider
    from casework.adapters.sql_history.store import SqlHistory

_MINUTE_MS = 60_000
# For connecting and the whole answer; a receiver that takes longer is asked again.
_NOTICE_TIMEOUT_S = 5.0


def fingerprint_key(settings: Settings) -> bytes:
    """The installation's secret, 16 bytes.

    Raises:
        SettingsError: it is not set.
    """
    return _secret("detector.fingerprint_key", settings.detector.fingerprint_key, 32, "workers and for ever")


def session_secret(settings: Settings) -> bytes:
    """The secret that signs console sessions, 32 bytes.

    Raises:
        SettingsError: it is not set.
    """
    return _secret("api.session_secret", settings.api.session_secret, 64, "API processes")


def _secret(name: str, given: SecretStr, digits: int, same_for_all: str) -> bytes:
    """The bytes of a secret in hex digits.

    Raises:
        SettingsError: it is not set.
    """
    text = given.get_secret_value()
    if not text:
        message = (
            f"{name}: missing; right are {digits} lower-case hex digits, secret, the same for all {same_for_all}: make "
            f"them with `openssl rand -hex {digits // 2}`"
        )
        raise SettingsError(message)
    return bytes.fromhex(text)


def issuer_token_pattern(settings: Settings) -> re.Pattern[str] | None:
    """What numeric card tokens of the issuer look like.

    Raises:
        SettingsError: it is no regular expression.
    """
    text = settings.score.issuer_token_pattern
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        message = f"score.issuer_token_pattern: is no regular expression: {error}"
        raise SettingsError(message) from None


def playbook(settings: Settings) -> Playbook:
    """The playbook.

    Raises:
        SettingsError: its file cannot be read.
        casework.errors.ConfigurationError: its content is wrong.
    """
    return Playbook.from_mapping(configured_toml(settings.files.playbook, "playbook.toml"))


def redis_policy(settings: Settings) -> ConnectionPolicy:
    """How long Redis is waited for."""
    redis = settings.redis
    return ConnectionPolicy(timeout_s=redis.timeout_s, retries=redis.retries, budget_s=redis.budget_s)


def address_parts(redis: RedisSettings) -> dict[str, Any]:
    """What Redis' address says, in the words of redis-py; nothing where there is none."""
    url = redis.url.get_secret_value()
    parts: dict[str, Any] = parse_url(url) if url else {}  # type: ignore[no-untyped-call] # redis-py leaves it bare
    return parts


def require_redis_files(redis: RedisSettings) -> None:
    """Find out before anything connects whether the certificates that Redis' address names can be read.

    Raises:
        SettingsError: one cannot.
    """
    parts = address_parts(redis)
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        try:
            if parts.get(name):
                Path(parts[name]).open("rb").close()
        except OSError as error:
            message = f"redis.url: the file of {name} cannot be read ({error.strerror})"
            raise SettingsError(message) from None


def redis_client(settings: Settings) -> RedisClient:
    """A client of Redis; it connects on first use.

    Raises:
        SettingsError: a file that its address names cannot be read.
    """
    redis = settings.redis
    require_redis_files(redis)
    address = RedisAddress(
        redis.url.get_secret_value(), redis.cluster, redis.sentinel_addresses(), redis.sentinel_service
    )
    return connect(address, redis_policy(settings))


def _redis_connection(settings: Settings) -> RedisConnection:
    """A connection of its own whose writes wait for as many replicas as configured; it connects on first use."""
    policy, replicas = redis_policy(settings), settings.redis.replicas
    return RedisConnection(redis_client(settings), policy, replicas=replicas)


def redis_store(settings: Settings) -> RestorableRedisStore:
    """The store on Redis; it connects on first use."""
    redis, connection = settings.redis, _redis_connection(settings)
    confirm_within_s = redis.confirm_within_s if redis.confirm == "kafka" else None
    layout = RedisStoreSettings(redis.shards, redis.outbox_limit, confirm_within_s=confirm_within_s)
    return RestorableRedisStore(connection, layout)


def authority(settings: Settings) -> Authority:
    """Who may do what.

    Raises:
        SettingsError: its file cannot be read.
        casework.errors.ConfigurationError: its content is wrong.
    """
    return Authority.from_mapping(configured_toml(settings.files.roles, "roles.toml"))


def code_secret(settings: Settings) -> bytes:
    """The secret that one-time codes follow from, 32 bytes.

    Raises:
        SettingsError: it is not set.
    """
    return _secret("desk.code_secret", settings.desk.code_secret, 64, "API processes and for what sends notices")


def desk(settings: Settings, store: RestorableRedisStore) -> Desk:
    """The desk on that store, for people; await its `open` before anything else."""
    return Desk(store, playbook(settings), authority(settings), code_secret(settings))


def responding_desk(settings: Settings, store: RestorableRedisStore) -> Desk:
    """The desk on that store, for workers: nobody verifies anybody's identity there."""
    return Desk(store, playbook(settings), authority(settings), b"")


def require_one_reference(policy_currency: str, rates_currency: str) -> None:
    """Refuse costs and rates that speak of different reference currencies.

    Raises:
        SettingsError: they do.
    """
    if policy_currency != rates_currency:
        message = (
            f"policy: reference_currency is {policy_currency}; right is {rates_currency}, that of the rates, or rates "
            f"whose reference is {policy_currency}"
        )
        raise SettingsError(message)


def messages(settings: Settings) -> Messages:
    """What cardholders are told, in every language that is shipped.

    Raises:
        SettingsError: the secret that one-time codes follow from is not set.
        casework.errors.ConfigurationError: a message that the playbook asks for is missing.
    """
    catalogues = {locale: shipped_toml(f"messages/{locale}.toml") for locale in LOCALES}
    book = playbook(settings)
    made = Messages(catalogues, code_secret(settings), book.silence_ms // _MINUTE_MS)
    for locale in LOCALES:
        made.require(locale, book.templates())
    return made


def courier_rules(settings: Settings) -> CourierRules:
    """Which notices are urgent, after which of them somebody calls, and for how long a code is of use.

    Raises:
        SettingsError: a file cannot be read.
        casework.errors.ConfigurationError: its content is wrong.
    """
    book = playbook(settings)
    return CourierRules(
        urgent=book.urgent_notices,
        called_about=book.called_about,
        silence_ms=book.silence_ms,
        code_age_ms=book.verification.terms[Method.CODE].answer_within_ms,
    )


def links(settings: Settings) -> Links:
    """Signs and reads the links of cardholders.

    Raises:
        SettingsError: the secret that they follow from is not set.
    """
    return Links(code_secret(settings))


def page_links(settings: Settings) -> PageLinks | None:
    """Makes the links in notices; None where cardholders have no page.

    Raises:
        SettingsError: the secret that they follow from is not set.
    """
    notices = settings.notices
    if not notices.page_url:
        return None
    return PageLinks(links(settings), f"{notices.page_url}/s/", notices.link_hours * 3600)


def notice_memory(settings: Settings) -> RedisNotices:
    """What became of notices, and how cardholders want to be reached; it connects on first use."""
    return RedisNotices(_redis_connection(settings))


def session_memory(settings: Settings) -> RedisSessions:
    """The memory of the console's sessions; it connects on first use."""
    return RedisSessions(RedisConnection(redis_client(settings), redis_policy(settings)))


def identity_provider(settings: Settings, clock: Callable[[], int]) -> Provider | None:
    """Where agents sign in; None where they do with API keys. It is asked on first use."""
    provider = settings.oidc.provider()
    if provider is None:
        return None
    from api.oidc.provider import ANSWER_WITHIN_S, Provider  # noqa: PLC0415  workers need no cryptography

    return Provider(provider, partial(httpx.AsyncClient, timeout=ANSWER_WITHIN_S), clock)


def notice_poster(settings: Settings) -> Poster:
    """What posts notices to the bank's own messaging, which may well stand in its own network."""
    return Poster(settings.notices.webhook_url, _NOTICE_TIMEOUT_S, may_be_private=True)


def notice_sender(settings: Settings, contacts: Contacts, poster: Poster) -> NoticeSender:
    """What hands notices over.

    Args:
        settings: of the installation.
        contacts: knows addresses.
        poster: posts webhooks; its owner closes it.
    """
    notices = settings.notices
    if notices.sender == "webhook":
        return WebhookSender(poster, bytes.fromhex(notices.webhook_secret.get_secret_value()), asyncio.sleep)
    if notices.sender == "smtp":
        server = MailServer(
            notices.smtp_host,
            notices.smtp_port,
            notices.smtp_from,
            notices.smtp_starttls,
            notices.smtp_user,
            notices.smtp_password.get_secret_value(),
        )
        return SmtpSender(server, contacts, asyncio.sleep)
    return LogSender()


def endpoints(settings: Settings) -> list[Endpoint]:
    """The active systems that are told what happens with cases and cards."""
    return [
        Endpoint(
            name=name,
            url=given.url,
            secrets=tuple(
                secret_of(secret.get_secret_value())
                for secret in (given.secret, given.old_secret)
                if secret.get_secret_value()
            ),
            kinds=kinds_of(given.events),
            may_be_private=given.private,
        )
        for name, given in settings.webhooks.endpoints.items()
        if given.active
    ]


def endpoint_poster(settings: Settings, endpoint: Endpoint) -> Poster:
    """What reaches an endpoint; its owner closes it."""
    return Poster(endpoint.url, settings.webhooks.timeout_s, may_be_private=endpoint.may_be_private)


def webhook_log(settings: Settings) -> RedisWebhooks:
    """What was told to endpoints; it connects on first use, and its owner closes it."""
    return RedisWebhooks(_redis_connection(settings))


def replays(settings: Settings) -> RedisReplays:
    """Where orders to tell endpoints again wait; it connects on first use, and its owner closes it."""
    return RedisReplays(_redis_connection(settings))


def configured_endpoints(settings: Settings) -> list[Configured]:
    """What people may know of all endpoints, those that are not active too; no path, query or secret is in it."""
    return [
        Configured(name, urlsplit(given.url).netloc, tuple(given.events), given.active)
        for name, given in settings.webhooks.endpoints.items()
    ]


def history(settings: Settings) -> SqlHistory:
    """The memory of closed cases; it connects on first use.

    Raises:
        casework.errors.HistoryError: it is no address of a database, or its driver is not installed.
    """
    from casework.adapters.sql_history.store import SqlHistory  # noqa: PLC0415  a second that few commands need

    url = settings.history.url.get_secret_value()
    if not url:
        folder = DataDirectory(settings.data.directory)
        folder.create()
        url = f"sqlite:///{folder.history.absolute() / 'cases.db'}"
    return SqlHistory(url)
