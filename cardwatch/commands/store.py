"""What commands on Redis share: a desk for one piece of work, with errors in the words of the command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from cardwatch import wiring
from cardwatch.errors import CardwatchError, ServiceError, SettingsError
from cardwatch.settings import Settings
from casework.desk import Desk
from casework.errors import CaseworkError, CommandError, StoreSetupError, StoreUnavailableError

Result = TypeVar("Result")


async def with_desk(settings: Settings, work: Callable[[Desk], Awaitable[Result]]) -> Result:
    """Do some work with the desk on the configured Redis.

    Raises:
        CardwatchError: Redis does not answer, is not set up like that, or the desk refuses.
    """
    try:
        store = wiring.redis_store(settings)
        try:
            desk = wiring.responding_desk(settings, store)
            await desk.open(create=False)
            return await work(desk)
        finally:
            await store.close()
    except StoreUnavailableError as error:
        message = "Redis does not answer; check redis.url and whether it runs"
        raise ServiceError(message) from error
    except (StoreSetupError, CommandError) as error:
        raise SettingsError(str(error)) from error
    except CaseworkError as error:
        raise CardwatchError(str(error)) from error
