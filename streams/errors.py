"""Every error the streams raise, as one tree.

StreamsError
├── SettingsError          a setting, or a cluster's topics, that cannot be used; found before anything starts
│   ├── AccessError        the broker refuses our user or certificate, or we refuse its certificate
│   ├── TopicError         a topic is missing, or has another number of partitions than its neighbours
│   └── ClusterError       checkpoints belong to another Kafka cluster
├── SeamError              Faust is not what the batch seam was written for
├── ProducerError          Kafka did not acknowledge what was sent; nothing after it may be counted as done
│   └── FencedError        another worker writes the answers of our partition: it has been given away
├── CheckpointError        a checkpoint could not be written, or is damaged
├── RecoveryError          the output topics could not be read back
├── GatewayError           payments for waiting callers cannot be taken now; the same again later is safe
├── RecordFormatError      a record batch is damaged, or of a format that Kafka no longer writes
├── BroadcastError         models, lists or card states could not be read
└── WorkerError            a role ended that should have gone on
"""

from __future__ import annotations


class StreamsError(Exception):
    """Base of everything the streams raise on purpose."""


class SettingsError(StreamsError):
    """A setting cannot be used; the message names it and says what would be right."""


class AccessError(SettingsError):
    """The broker does not let us in, or is not the one that it should be; the message says what to check."""


class TopicError(SettingsError):
    """A topic is missing, or its number of partitions does not fit the topics that it is read or written with."""


class ClusterError(SettingsError):
    """Checkpoints were written on another Kafka cluster, whose offsets mean something else."""


class SeamError(StreamsError):
    """The installed Faust is not the one whose private names the batch seam overrides."""


class ProducerError(StreamsError):
    """A record was not acknowledged. The worker ends and starts again from its checkpoint."""


class FencedError(ProducerError):
    """Somebody else has written answers to our partition since it was taken over: one of the two has lost it."""


class CheckpointError(StreamsError):
    """A checkpoint could not be written, or what was read back is not what was written."""


class RecordFormatError(StreamsError):
    """Bytes that Kafka sent are no record batches: damaged on their way, or of a format before Kafka 0.11."""


class RecoveryError(StreamsError):
    """The tail of an output topic could not be read, so what was answered already is not known."""


class GatewayError(StreamsError):
    """Payments for waiting callers cannot be taken now; sending the same again later is safe."""


class BroadcastError(StreamsError):
    """The broadcast topics could not be read up to their ends in time."""


class WorkerError(StreamsError):
    """A role of the worker ended on its own; the message names it, the cause is attached."""
