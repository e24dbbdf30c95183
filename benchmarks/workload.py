"""What is played: simulated payments, the same every time, made once and kept in an ignored folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.results import CACHE
from cardwatch.settings import load_settings
from cardwatch.simulator import Simulator, WorldSettings
from cardwatch.simulator.output import write_files
from cardwatch.simulator.wire import to_records
from cardwatch.simulator.world import DAY_MS
from cardwatch.warm import warm_model
from detector.models.version import ModelVersion

# A portfolio of a bank: about a week for a million payments. One payment in 400 is fraudulent, some three times what
# card schemes report, so alerts are not rarer than they would be.
STREAM_WORLD = WorldSettings(seed=11, cards=50_000, merchants=10_000, attacks_per_thousand_cards_day=0.25)
# A million cards: of three million payments, two thirds of a day, nearly every card has made some.
LIVE_WORLD = WorldSettings(seed=11, cards=1_000_000, merchants=80_000, attacks_per_thousand_cards_day=0.25)
# A tenth of the first one's cards, so that a million payments last two months and labels a week late are learned.
MONTHS_WORLD = WorldSettings(seed=11, cards=5_000, merchants=1_500, attacks_per_thousand_cards_day=0.25)
# In the past of whoever runs this: a payment dated in the future is refused.
START_MS = 1_735_689_600_000  # 2025-01-01
LABEL_DELAY_DAYS = 7
_RECORDS_AT_ONCE = 20_000
_SCHEMA = pa.schema(
    [("key", pa.binary()), ("value", pa.binary()), ("transaction_id", pa.string()), ("event_time_ms", pa.int64())]
)

Progress = Callable[[str], None]


def stream_file(records: int, say: Progress, world: WorldSettings = STREAM_WORLD) -> Path:
    """A Parquet file of payments as they stand in Kafka: key and JSON value, in time order."""
    path = CACHE / "workloads" / f"stream-{world.cards}-{records}-{_digest()}.parquet"
    if path.exists():
        return path
    say(f"making {records:,} payments (once)")
    stream, encoder = Simulator(world).stream(START_MS), msgspec.json.Encoder()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    with pq.ParquetWriter(unfinished, _SCHEMA, compression="zstd") as writer:
        for done in range(0, records, _RECORDS_AT_ONCE):
            made = to_records(stream.world, stream.take(min(_RECORDS_AT_ONCE, records - done)))
            columns = [
                [record["card_token"].encode() for record in made],
                [encoder.encode(record) for record in made],
                [record["transaction_id"] for record in made],
                [record["event_time_ms"] for record in made],
            ]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA))
    unfinished.replace(path)
    return path


def replay_files(records: int, say: Progress) -> tuple[Path, Path]:
    """Parquet files of payments and of their labels, as `cardwatch replay` reads them."""
    folder = CACHE / "workloads"
    payments = folder / f"replay-{records}-{_digest()}.parquet"
    labels = folder / f"replay-{records}-{_digest()}-labels.parquet"
    if not labels.exists():
        say(f"making {records:,} payments with labels (once)")
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / "unfinished.parquet"
        stream = Simulator(MONTHS_WORLD).stream(START_MS)
        write_files(stream, records, payments, unfinished, LABEL_DELAY_DAYS * DAY_MS)
        unfinished.replace(labels)
    return payments, labels


def warmed_model() -> ModelVersion:
    """The model that the demo starts with: trained on a simulated world, another one than is played here."""
    folder = CACHE / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return warm_model(load_settings(), folder)[0]


def _digest() -> str:
    """Digest of the simulator's code and the worlds: a change of either makes other payments."""
    digest = hashlib.sha256(repr((STREAM_WORLD, LIVE_WORLD, MONTHS_WORLD, START_MS)).encode())
    for file in sorted(resources.files("cardwatch.simulator").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
