"""What the batch seam takes of Faust and aiokafka beyond what they promise: versions, and names with their parameters.

Written for faust-streaming 0.15.3 with aiokafka 0.13 and 0.14. `tests/streams/test_seam_names.py` fails when one of the
names changes, so that an upgrade says where to look.
"""

from __future__ import annotations

from collections.abc import Mapping

import aiokafka  # type: ignore[import-untyped]
import faust
from aiokafka.consumer import fetcher  # type: ignore[import-untyped]
from aiokafka.consumer.group_coordinator import GroupCoordinator  # type: ignore[import-untyped]
from faust.tables.manager import TableManager
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AIOKafkaConsumer

from streams.errors import SeamError

FAUST_VERSIONS = ("0.15.3",)
AIOKAFKA_VERSIONS = ("0.13", "0.14")
# What the seam overrides or reads beyond Faust's documented interface: name -> its parameters.
PRIVATE_NAMES: Mapping[tuple[type, str], tuple[str, ...]] = {
    (faust.App, "_new_transport"): ("self",),
    (faust.App, "on_rebalance_start"): ("self",),
    (TableManager, "on_start"): ("self",),
    (TableManager, "_update_channels"): ("self",),
    (FaustConsumer, "_drain_messages"): ("self", "fetcher"),
    (FaustConsumer, "_wait_next_records"): ("self", "timeout"),
    (FaustConsumer, "perform_seek"): ("self",),
    (FaustConsumer, "on_partitions_assigned"): ("self", "assigned", "generation_id"),
    (FaustConsumer, "resume_flow"): ("self",),
    (AIOKafkaConsumer, "seek_wait"): ("self", "partitions"),
    (AIOKafkaConsumer, "_commit"): ("self", "offsets"),
    (AIOKafkaConsumer, "_new_consumer_thread"): ("self",),
    (AIOKafkaConsumer, "_get_active_partitions"): ("self",),
    (AIOKafkaConsumer, "verify_event_path"): ("self", "now", "tp"),
    (AIOKafkaConsumerThread, "_create_worker_consumer"): ("self", "transport"),
    (AIOKafkaConsumerThread, "call_thread"): ("self", "fun", "args", "kwargs"),
    (AIOKafkaConsumerThread, "_fetch_records"): ("self", "consumer", "active_partitions", "timeout", "max_records"),
    (AIOKafkaConsumerThread, "on_start"): ("self",),
    (fetcher.PartitionRecords, "__init__"): (
        "self",
        "tp",
        "records",
        "aborted_transactions",
        "fetch_offset",
        "key_deserializer",
        "value_deserializer",
        "check_crcs",
        "isolation_level",
    ),
    (fetcher.PartitionRecords, "_unpack_records"): ("self",),
    (fetcher.PartitionRecords, "_consume_aborted_up_to"): ("self", "batch_offset"),
    (fetcher.FetchResult, "getall"): ("self", "max_records"),
    (fetcher.FetchResult, "has_more"): ("self",),
    (fetcher.FetchResult, "check_assignment"): ("self", "tp"),
    (fetcher.FetchResult, "_update_position"): ("self",),
    (GroupCoordinator, "check_errors"): ("self",),
    (GroupCoordinator, "_on_join_prepare"): ("self", "previous_assignment"),
    (GroupCoordinator, "_perform_assignment"): ("self", "response"),
    (GroupCoordinator, "_on_join_complete"): (
        "self",
        "generation",
        "member_id",
        "protocol",
        "member_assignment_bytes",
    ),
    (GroupCoordinator, "_do_rejoin_group"): ("self", "subscription"),
    (GroupCoordinator, "_do_commit_offsets"): ("self", "assignment", "offsets"),
    (GroupCoordinator, "reset_generation"): ("self",),
    (GroupCoordinator, "request_rejoin"): ("self",),
    (GroupCoordinator, "_start_heartbeat_task"): ("self",),
}


def check_versions() -> None:
    """Refuse to start on versions that the seam was not written for.

    Raises:
        SeamError: names the version found and those that are right.
    """
    if faust.__version__ not in FAUST_VERSIONS:
        message = f"the batch seam needs faust-streaming {' or '.join(FAUST_VERSIONS)}, found {faust.__version__}"
        raise SeamError(message)
    if not aiokafka.__version__.startswith(AIOKAFKA_VERSIONS):
        message = f"the batch seam needs aiokafka {' or '.join(AIOKAFKA_VERSIONS)}, found {aiokafka.__version__}"
        raise SeamError(message)
