"""The buffer pool that v4l2src forgets.

In GStreamer 1.22 `v4l2src` keeps one reference to its buffer pool too many. Such a pool outlives its pipeline, and with
it the element, a descriptor of the device and four sockets: two hundred pulled cables, and the process has no
descriptor left. So the pool is asked for while a pipeline runs, and after its end one reference too many is dropped:
where it is the only one beside ours, and in the versions where it was seen. A pool that came and went between two
looks is still lost: one in some forty pipelines of the twin, whose `two_hundred_pulls` therefore does not hold yet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from edge.capture import gst_c as c

log = logging.getLogger(__name__)

FORGETFUL = {(1, 22)}  # major and minor; in others nothing is touched
OURS, FORGOTTEN = 1, 1


class Pools:
    """Every pool that a pipeline's v4l2src had, each with a reference of ours. Owner: the pipeline's."""

    def __init__(self, elements: Iterable[Any], version: tuple[int, int]) -> None:
        """`version`: GStreamer's. Without a v4l2src, or where it forgets nothing, there is nothing to do."""
        forgetful = list(elements) if version in FORGETFUL else []
        self._source = next((one for one in forgetful if _kind(one) == "v4l2src"), None)
        self._held: list[int] = []

    def look(self) -> None:
        """Asked at every picture: a loss of signal makes v4l2src take another pool. Costs some microseconds."""
        pool = c.source_pool(hash(self._source)) if self._source is not None else None
        if pool in self._held:
            c.object_unref(pool)  # the reference that came with the answer
        elif pool:
            self._held.append(pool)

    def let_go(self) -> None:
        """The pipeline is at NULL, and none of its buffers is lent."""
        for pool in self._held:
            let_go(pool)
        self._held.clear()


def _kind(element: Any) -> str:
    factory = element.get_factory()
    return str(factory.get_name()) if factory is not None else ""


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
