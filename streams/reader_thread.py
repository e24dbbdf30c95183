"""A plain consumer in a thread of its own: what it reads is taken elsewhere, and so is the failure that ends it."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from confluent_kafka import Consumer, KafkaException

from streams.errors import BroadcastError
from streams.plain_consumer import plain_consumer
from streams.settings import StreamSettings

logger = logging.getLogger(__name__)


class ReaderThread(ABC):
    """Reads until closed. Subclasses say what, in `_read`."""

    def __init__(self, name: str, subject: str, settings: StreamSettings) -> None:
        """Prepare; nothing connects before `start`.

        Args:
            name: of the thread and its consumer.
            subject: what is read, for errors.
            settings: of the streams.
        """
        self._settings = settings
        self._name = name
        self._subject = subject
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading; blocks until the thread has ended."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    @abstractmethod
    def _read(self, consumer: Consumer) -> None:
        """Read until `_closing` is set; runs in the thread.

        Raises:
            KafkaException: it cannot be read any more.
        """

    def _raise_failure(self) -> None:
        """Raises BroadcastError if reading has failed."""
        if self._failure is not None:
            message = f"cannot read {self._subject}"
            raise BroadcastError(message) from self._failure

    def _run(self) -> None:
        consumer = plain_consumer(self._settings, self._name)
        try:
            self._read(consumer)
        except KafkaException as error:
            self._failure = error
            logger.exception("reading %s ended", self._subject)
        finally:
            consumer.close()
