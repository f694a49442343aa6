"""One error per boundary. The message names what failed (file, key, device) and what was expected.

A timeout is never an error: it is a value (`types.Gap`). Foreign exceptions are wrapped `from exc` where they enter.
"""


class EdgeError(Exception):
    """Something a person has to mend. The command line prints the message alone and exits with `exit_code`."""

    exit_code = 1


class UsageError(EdgeError):
    """The command line was wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file is missing, unreadable, or says something that is not allowed."""


class CaptureError(EdgeError):
    """A source cannot be opened, or broke for good."""


class ModelError(EdgeError):
    """A model folder is incomplete, has the wrong digest, or does not fit the pipeline."""


class InferenceError(EdgeError):
    """A backend cannot load or run a model."""


class GpuError(EdgeError):
    """The GPU, its driver or its memory failed. CaptureError or InferenceError is made of it where it was used."""


class OutboxError(EdgeError):
    """An event could not be made durable, so nobody was told of it."""


class OutboxFullError(OutboxError):
    """No room, or no turn, at this moment: nothing was stored, keep the events and try again later."""


class OutboxBrokenError(OutboxError):
    """The file cannot be used as it is: nothing was stored. Opening the outbox again mends a damaged file; a
    read-only, foreign or newer file needs a person."""


class DisplayError(EdgeError):
    """The display has no screen to show on, or no socket to listen at."""


class UplinkError(EdgeError):
    """The broker, its address, or our credentials are wrong in a way that retrying cannot mend."""


class ConsoleError(EdgeError):
    """A console's command cannot be carried out, or a login is refused."""


class AuditError(EdgeError):
    """An audit log cannot be written, or does not hold."""


class UpdateError(EdgeError):
    """A release, its metadata or its slot cannot be used; what runs goes on. `code`: what kind of trouble it is, for
    programs (`edge/update/client.py` has the list); "" when the words are all there is."""

    def __init__(self, words: str, code: str = "") -> None:
        super().__init__(words)
        self.code = code
