"""The buffer pool that v4l2src forgets.

In GStreamer 1.22 `v4l2src` keeps one reference to its buffer pool too many. Such a pool outlives its pipeline, and with
it the element, a descriptor of the device and four sockets: two hundred pulled cables, and the process has no
descriptor left. So the pool is asked for before a pipeline ends, and after its end one reference too many is dropped:
where it is the only one beside ours, and in the versions where it was seen. `two_hundred_pulls` of the twin proves it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from edge.capture import gst_c as c

log = logging.getLogger(__name__)

FORGETFUL = {(1, 22)}  # major and minor; in others nothing is touched
OURS, FORGOTTEN = 1, 1


def pool_of(elements: Iterable[Any], version: tuple[int, int]) -> int | None:
    """The address of the pool of a pipeline's v4l2src, with a reference of ours; None without one."""
    for element in elements if version in FORGETFUL else ():
        factory = element.get_factory()
        if factory is not None and factory.get_name() == "v4l2src":
            return c.source_pool(hash(element)) or None
    return None


def let_go(pool: int) -> None:
    """Of our reference, and of the forgotten one. The pool's pipeline is at NULL, and none of its buffers is lent."""
    count = c.references(pool)
    if not c.pool_is_active(pool) and count == OURS + FORGOTTEN:
        c.object_unref(pool)
    elif count > OURS:
        log.warning(
            "a buffer pool of v4l2src outlives its pipeline: %d references, active %d",
            count - OURS,
            c.pool_is_active(pool),
        )
    c.object_unref(pool)
