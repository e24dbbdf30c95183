"""Every error the front door raises, as one tree, with the exit code each ends a command with.

CardwatchError                exit 1   a command did not do what it was asked for
├── SettingsError             exit 2   a setting, flag or file is wrong; nothing was started
├── ServiceError              exit 3   a broker, Redis or process of ours cannot be started or reached
│   └── RestartLimitError     exit 3   a process keeps ending; its log says why
├── ReplayError               exit 2   a file, mapping or label to replay cannot be used
└── StoryError                exit 1   a step of `cardwatch demo --until-case` did not happen in time
"""

from __future__ import annotations

from typing import ClassVar

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3
# The shell's convention for a command that Ctrl-C ended: 128 + SIGINT.
EXIT_INTERRUPTED = 130


class CardwatchError(Exception):
    """Base of everything the front door raises on purpose; the message is for the person at the terminal."""

    exit_code: ClassVar[int] = EXIT_FAILED


class SettingsError(CardwatchError):
    """Settings cannot be used; each line names one and says what would be right."""

    exit_code = EXIT_USAGE


class ServiceError(CardwatchError):
    """A service cannot be started or reached; the message says which, where, and what to do."""

    exit_code = EXIT_UNAVAILABLE


class RestartLimitError(ServiceError):
    """A supervised process ended more often than its restart policy allows."""


class StoryError(CardwatchError):
    """A step of the demo's story did not happen within its time."""


class ReplayError(CardwatchError):
    """A file, mapping or label to replay cannot be used; the message says what would be right."""

    exit_code = EXIT_USAGE
