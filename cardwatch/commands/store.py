"""What commands on Redis share: a desk for one piece of work, with errors in the words of the command line."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cardwatch import kafka, wiring
from cardwatch.errors import CardwatchError, ServiceError, SettingsError
from cardwatch.settings import Settings
from cardwatch.stream_settings import stream_settings
from casework.adapters.redis_restore import RestorableRedisStore
from casework.desk import Desk
from casework.errors import (
    CaseworkError,
    CommandError,
    StoreAccessError,
    StoreFencedError,
    StoreSetupError,
    StoreUnavailableError,
)
from casework.playbook import Playbook
from streams import errors as streams_errors
from streams.settings import StreamSettings

Result = TypeVar("Result")


async def with_desk(settings: Settings, work: Callable[[Desk], Awaitable[Result]]) -> Result:
    """Do some work with the desk on the configured Redis, which must be set up.

    Raises:
        CardwatchError: Redis does not answer, is not set up like that, or the desk refuses.
    """
    with told():
        store = wiring.redis_store(settings)
        try:
            desk = wiring.responding_desk(settings, store)
            await desk.open(create=False)
            return await work(desk)
        finally:
            await store.close()


async def topics_and_store(
    settings: Settings, work: Callable[[RestorableRedisStore, StreamSettings, Playbook], Awaitable[Result]]
) -> Result:
    """Do some work on the configured Redis and Kafka's topics.

    Raises:
        CardwatchError: one of them does not answer, or Redis is set up otherwise.
    """
    with told():
        playbook = wiring.playbook(settings)
        # A broker that does not let us in says so here; a reader would only hear nothing.
        kafka.look_at(settings.kafka)
        store = wiring.redis_store(settings)
        try:
            return await work(store, stream_settings(settings, f"command-{os.getpid()}"), playbook)
        finally:
            await store.close()


@contextmanager
def told() -> Iterator[None]:
    """Turn the errors of desk, store and topics into those of the command line."""
    try:
        yield
    except (StoreFencedError, StoreAccessError) as error:
        raise ServiceError(str(error)) from error
    except StoreUnavailableError as error:
        message = "Redis does not answer; check redis.url and whether it runs"
        raise ServiceError(message) from error
    except (StoreSetupError, CommandError) as error:
        raise SettingsError(str(error)) from error
    except streams_errors.StreamsError as error:
        raise ServiceError(str(error)) from error
    except CaseworkError as error:
        raise CardwatchError(str(error)) from error
