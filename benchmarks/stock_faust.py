"""The peer: a Faust app as Faust's documentation shows one, with models as river's documentation shows them.

    python -m benchmarks.stock_faust worker -l warn --without-web

Records are declared, an agent iterates over a stream, answers are sent to a topic, settings are Faust's own. Features
are plain Python on plain dictionaries, which is less than a Faust table would cost. Models are trained on some thousand
simulated payments at the start and only score from then on, as cardwatch's score role does.
"""

from __future__ import annotations

import math
import os
from collections import deque
from datetime import UTC, datetime

import faust
from river import anomaly, forest, linear_model, preprocessing

from benchmarks.broker import PEER_DECISIONS
from benchmarks.workload import START_MS, STREAM_WORLD
from cardwatch.settings import shipped_toml
from cardwatch.simulator import Simulator
from cardwatch.simulator.wire import to_records
from streams.topics import TRANSACTIONS

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_WEEK_MS = 7 * _DAY_MS
# More than a window of the trees, so that they have something to score by.
_TRAINING_PAYMENTS = 6_000
_EARTH_RADIUS_KM = 6_371.0


class Transaction(faust.Record, serializer="json"):
    """The fields of a payment that the features need."""

    transaction_id: str
    card_token: str
    event_time_ms: int
    amount_minor: int
    currency: str
    merchant_id: str = ""
    terminal_id: str = ""
    country: str = ""
    channel: str = ""
    entry_mode: str = ""
    latitude: float = 0.0
    longitude: float = 0.0
    home_latitude: float = 0.0
    home_longitude: float = 0.0


class Decision(faust.Record, serializer="json"):
    """The answer."""

    transaction_id: str
    card_token: str
    event_time_ms: int
    action: str
    score: float
    anomaly: float


class History:
    """The last week of one card."""

    def __init__(self) -> None:
        """Start with a card that nobody has seen."""
        self.payments: deque[tuple[int, int]] = deque()
        self.merchants: set[str] = set()
        self.countries: set[str] = set()
        self.terminals: set[str] = set()

    def features(self, tx: Transaction) -> dict[str, float]:
        """Seventeen features of a payment, which is taken into the history."""
        now, amount = tx.event_time_ms, tx.amount_minor
        while self.payments and self.payments[0][0] <= now - _WEEK_MS:
            self.payments.popleft()
        last_ms = self.payments[-1][0] if self.payments else now
        mean = sum(paid for _, paid in self.payments) / len(self.payments) if self.payments else amount
        self.payments.append((now, amount))
        hour = [paid for time_ms, paid in self.payments if time_ms > now - _HOUR_MS]
        day = [paid for time_ms, paid in self.payments if time_ms > now - _DAY_MS]
        moment = datetime.fromtimestamp(now / 1000, tz=UTC)
        found = {
            "amount": float(amount),
            "log_amount": math.log1p(amount),
            "hour": float(moment.hour),
            "weekday": float(moment.weekday()),
            "is_ecom": float(tx.channel == "ecom"),
            "is_magstripe": float(tx.entry_mode == "magstripe"),
            "count_1h": float(len(hour)),
            "count_24h": float(len(day)),
            "count_7d": float(len(self.payments)),
            "spend_1h": float(sum(hour)),
            "spend_24h": float(sum(day)),
            "amount_over_mean_7d": amount / mean if mean else 0.0,
            "seconds_since_last": (now - last_ms) / 1000,
            "merchant_is_new": float(tx.merchant_id not in self.merchants),
            "country_is_new": float(tx.country not in self.countries),
            "terminal_is_new": float(tx.terminal_id not in self.terminals),
            "km_from_home": _km(tx.latitude, tx.longitude, tx.home_latitude, tx.home_longitude),
        }
        self.merchants.add(tx.merchant_id)
        self.countries.add(tx.country)
        self.terminals.add(tx.terminal_id)
        return found


def _km(latitude: float, longitude: float, home_latitude: float, home_longitude: float) -> float:
    """Great-circle distance; 0 where the payment has no place."""
    if not latitude and not longitude:
        return 0.0
    phi, home_phi = math.radians(latitude), math.radians(home_latitude)
    half = math.sin((phi - home_phi) / 2) ** 2
    half += math.cos(phi) * math.cos(home_phi) * math.sin(math.radians(longitude - home_longitude) / 2) ** 2
    return 2 * _EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half)))


trees = shipped_toml("models.toml")["half_space"]
detector = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(
    n_trees=trees["trees"], height=trees["height"], window_size=trees["window"], seed=trees["seed"]
)
models = os.environ.get("BENCHMARK_PEER_MODELS", "both")
model = (
    forest.ARFClassifier(n_models=10, seed=1)  # ten trees, as river's own default
    if models == "forest"
    else preprocessing.StandardScaler() | linear_model.LogisticRegression()
)
with_trees = models == "both"
histories: dict[str, History] = {}


def train() -> None:
    """Let the models learn what the simulator's first payments were."""
    past: dict[str, History] = {}
    stream = Simulator(STREAM_WORLD).stream(START_MS - 90 * _DAY_MS)
    payments = stream.take(_TRAINING_PAYMENTS)
    for record, fraud in zip(to_records(stream.world, payments), payments.fraud.tolist(), strict=True):
        tx = Transaction.from_data(record)
        x = past.setdefault(tx.card_token, History()).features(tx)
        model.learn_one(x, fraud)
        if with_trees:
            detector.learn_one(x)


app = faust.App(f"stock-faust-{models}", broker=f"kafka://{os.environ.get('BENCHMARK_PEER_BROKER', 'localhost:9092')}")
transactions = app.topic(TRANSACTIONS, value_type=Transaction)
decisions = app.topic(PEER_DECISIONS[models], value_type=Decision)


@app.agent(transactions)
async def score(stream: faust.StreamT[Transaction]) -> None:
    """Score every transaction and answer it."""
    async for tx in stream:
        x = histories.setdefault(tx.card_token, History()).features(tx)
        probability = model.predict_proba_one(x).get(True, 0.0)
        unusual = detector.score_one(x) if with_trees else 0.0
        await decisions.send(  # type: ignore[unused-awaitable]  # as the documentation does it
            value=Decision(
                transaction_id=tx.transaction_id,
                card_token=tx.card_token,
                event_time_ms=tx.event_time_ms,
                action="FREEZE" if probability >= 0.5 else "ALLOW",
                score=probability,
                anomaly=unusual,
            )
        )


if __name__ == "__main__":
    train()
    app.main()
