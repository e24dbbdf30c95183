"""Decisions for callers of the HTTP service that wait: the API's port, filled with the streams' gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from api.errors import ScoringUnavailableError
from api.ports import Refusal
from cardwatch.settings import Settings, configured_toml
from cardwatch.wiring import require_one_reference
from detector.policy import Policy
from detector.rates import RateTable
from detector.vocabulary import Action
from streams.card_numbers import CardNumberCheck
from streams.codecs import TransactionCodec
from streams.encoding import Versions
from streams.errors import GatewayError
from streams.gateway import AnswerKind, Decided, Gateway, Late
from streams.gateway_log import KafkaGatewayLog
from streams.rejections import Reason
from streams.settings import StreamSettings
from telemetry.instruments import Instruments
from telemetry.metric import Process

# A late answer rests on no model.
_NO_MODEL = ""


class Waiting:
    """Fills `api.ports.ScoringPort`. `start` within the event loop it lives in, `stop` at the end."""

    def __init__(self, settings: Settings, streams: StreamSettings, registry: CollectorRegistry) -> None:
        """Read the policy for deadlines and the rates; nothing is connected.

        Raises:
            SettingsError: a file cannot be read, or policy and rates differ in their reference currency.
            detector.errors.ConfigurationError: the content of a file is wrong.
        """
        policy = Policy.from_mapping(configured_toml(settings.files.policy, "policy.toml"))
        rates = RateTable.from_mapping(configured_toml(settings.files.rates, "rates.toml"))
        require_one_reference(policy.reference_currency, rates.reference_currency)
        answers = Instruments(registry, Process.API).counters("cardwatch_waiting_answers_total")
        for kind in AnswerKind:
            answers.labels(kind)
        self._streams = streams
        self._gateway = Gateway(
            TransactionCodec(CardNumberCheck(streams.issuer_token_pattern), streams.future_bound_ms),
            Late(_late_action(policy, rates), Versions(_NO_MODEL, policy.version, rates.version, policy.rule_ids)),
            lambda kind: answers.labels(kind).inc(),
        )
        self._log: KafkaGatewayLog | None = None

    def start(self) -> None:
        """Begin to follow the decisions."""
        self._log = KafkaGatewayLog(self._streams, self._gateway.wants, self._gateway.seen)

    async def stop(self) -> None:
        """Send what is queued and end."""
        if self._log is not None:
            await asyncio.to_thread(self._log.close)

    async def decide(
        self, payments: Sequence[bytes], *, now_ms: int, deadline_ms: int, traceparent: str | None
    ) -> list[Mapping[str, Any] | Refusal]:
        """See `api.ports.ScoringPort`."""
        if self._log is None:
            message = "not started"
            raise ScoringUnavailableError(message)
        trace = None if traceparent is None else traceparent.encode()
        try:
            answers = await self._gateway.decide(
                payments, self._log, now_ms=now_ms, deadline_s=deadline_ms / 1000, traceparent=trace
            )
        except GatewayError as error:
            raise ScoringUnavailableError(str(error)) from error
        return [
            answer.fields
            if isinstance(answer, Decided)
            else Refusal(answer.reason.value, answer.detail, answer.reason is Reason.CARD_NUMBER_IN_CLEAR)
            for answer in answers
        ]


def _late_action(policy: Policy, rates: RateTable) -> Callable[[int, int, str], Action]:
    def action(channel: int, amount_minor: int, currency: str) -> Action:
        return policy.deadline.action(channel, rates.convert_one(amount_minor, currency))

    return action
