"""Every error that is the caller's to mend, and the exit code that each one becomes.

    StinetError                 1
    |- UsageError               2   a wrong argument or option
    |  `- ConfigError           2   settings that contradict each other, or a recipe that cannot be read
    |- InputError               3   a file that is missing, is no video, or holds nothing to decode
    |  `- DecodeError           3   a video that breaks in the middle
    |- OutputError              4   an output that exists, is locked, or cannot be written
    |- DeviceError              6   a device that is missing, or memory that does not suffice
    `- ModelError               7   a model that is unknown or has no weights
       `- CheckpointError       7   a weights file that is damaged, foreign, or for other settings

A message says what is wrong, gives the numbers and says what to do; lower case, no full stop. The command line prints
it in one line. Anything that is not a `StinetError` is our own bug (exit 1, with a traceback).

`Interrupted` (130) is no error but the user's wish, and like `KeyboardInterrupt` it passes every handler of errors.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DecodeError",
    "DeviceError",
    "InputError",
    "Interrupted",
    "ModelError",
    "OutputError",
    "StinetError",
    "UsageError",
]


class StinetError(Exception):
    """The root: catch this to catch everything that the package raises on purpose."""

    exit_code: int = 1


class UsageError(StinetError):
    """An argument or option that cannot be used."""

    exit_code = 2


class ConfigError(UsageError):
    """Settings that contradict each other, or a recipe with an unknown key."""

    exit_code = 2


class InputError(StinetError):
    """An input that is missing, unreadable or not a video."""

    exit_code = 3


class DecodeError(InputError):
    """A video whose packets cannot be decoded."""


class OutputError(StinetError):
    """An output that exists, is in use or cannot be written."""

    exit_code = 4


class DeviceError(StinetError):
    """A device that is not there, or memory that does not suffice."""

    exit_code = 6


class ModelError(StinetError):
    """A model that is unknown or untrained."""

    exit_code = 7


class CheckpointError(ModelError):
    """A weights file that is damaged, foreign or made for other settings."""


class Interrupted(KeyboardInterrupt):
    """The user has stopped a run; the message says how it goes on."""
