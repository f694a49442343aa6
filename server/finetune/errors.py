"""What goes wrong in a training, in words for who started it."""

from server.errors import ServerError


class FinetuneError(ServerError):
    """A checkpoint folder, an export or a half-done training is not what was expected, or the machine is too small."""
