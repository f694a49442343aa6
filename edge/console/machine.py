"""What machines may ask over SMP: nothing that needs a login.

group 0   echo (0), MCUmgr parameters (6), information about the system (7)
group 1   the releases that are known to lie in the slots (0); nothing can be uploaded
group 64  the status files (0): JSON, in pieces; read {"off": n} -> {"off", "len", "sha" (of all), "data"}
"""

from __future__ import annotations

import hashlib
import platform

from edge import release
from edge.console import smp
from edge.console.box import Box
from edge.console.cbor import Value
from edge.console.smp import Handler, RefusedError

OS, IMAGE, OURS = 0, 1, 64
ECHO, PARAMETERS, INFORMATION = 0, 6, 7
STATUS = IMAGES = 0
_PIECE = 1024
_ECHO_MOST = 1024
_FORMATS = "snrvbmpio"  # the letters of `uname -s`, ..., as MCUmgr knows them


class Machine:
    """Owner: the console's thread."""

    def __init__(self, box: Box) -> None:
        self._box, self._assembler = box, smp.Assembler()
        self._snapshot = b""
        self._handlers: dict[tuple[int, int, int], Handler] = {
            (smp.WRITE, OS, ECHO): _echo,
            (smp.READ, OS, ECHO): _echo,
            (smp.READ, OS, PARAMETERS): lambda _: {"buf_size": smp.PACKET_MOST, "buf_count": 1},
            (smp.READ, OS, INFORMATION): self._information,
            (smp.READ, IMAGE, IMAGES): self._images,
            (smp.READ, OURS, STATUS): self._status,
        }

    def take(self, frame: bytes) -> tuple[str, bytes] | None:
        """What was asked (for the audit log) and the answer's bytes, when this line made a packet whole."""
        packet = self._assembler.take(frame)
        if packet is None:
            return None
        try:
            request = smp.parse(packet)
        except ValueError:
            return None
        what = f"smp {request.operation}/{request.group}/{request.command}"
        return what, smp.lines(smp.answer(request, self._handlers))

    def _information(self, asked: dict[str, Value]) -> dict[str, Value]:
        """`format`: letters of `uname`; `a` is all. Answered in their own order, not in that of the question."""
        wanted = asked.get("format", "s")
        if not isinstance(wanted, str) or not wanted or set(wanted) - set(_FORMATS + "a"):
            raise RefusedError(smp.INVALID)
        system = platform.uname()
        words = {
            "s": "EndoEdge",
            "n": self._box.device,
            "r": release.version(),
            "v": release.version(),
            "b": self._box.clock.boot,
            "m": system.machine,
            "p": system.machine,
            "i": system.release,
            "o": system.system,
        }
        return {"output": " ".join(words[letter] for letter in _FORMATS if "a" in wanted or letter in wanted)}

    def _images(self, _asked: dict[str, Value]) -> dict[str, Value]:
        """Slot 0 is A, 1 is B, 2 what was installed by hand. `confirmed`: not on trial. `pending`: to be started."""
        said = self._box.update()
        if isinstance(said, str):
            return {"images": []}
        images: list[Value] = [
            {
                "slot": "ABF".find(said.slot),
                "version": said.version,
                "bootable": True,
                "active": True,
                "confirmed": said.trial is None,
                "pending": False,
            }
        ]
        if said.offer and said.state in ("installed", "switching"):
            other = 0 if said.slot == "B" else 1
            images.append({"slot": other, "version": said.offer.version, "bootable": True, "pending": True})
        return {"images": images}

    def _status(self, asked: dict[str, Value]) -> dict[str, Value]:
        """Offset 0 looks anew; the pieces after it are of the same moment."""
        offset = asked.get("off", 0)
        if not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
            raise RefusedError(smp.INVALID)
        if offset == 0:
            self._snapshot = self._box.snapshot()
        if offset > len(self._snapshot):
            raise RefusedError(smp.INVALID)
        digest = hashlib.sha256(self._snapshot).digest()
        piece = self._snapshot[offset : offset + _PIECE]
        return {"off": offset, "len": len(self._snapshot), "sha": digest, "data": piece}


def _echo(asked: dict[str, Value]) -> dict[str, Value]:
    said = asked.get("d")
    if not isinstance(said, str) or len(said) > _ECHO_MOST:
        raise RefusedError(smp.INVALID)
    return {"r": said}
