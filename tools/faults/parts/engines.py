"""The engine store: engines and a setting are replaced, by `write_atomically`."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

from edge.errors import InferenceError
from edge.infer.engine_store import HEADER_BYTES, MAGIC, Choice, EngineStore, Key
from tools.faults.promises import Promises, promise

MAX_BYTES = 4 << 20
PLAN_BYTES = (50_000, 300_000)
GOLDEN = "cd" * 32
KEYS = [
    Key(model_sha256=letter * 64, precision="int8_trt", tensorrt="10.3.0", gpu="Orin sm87", power_mode="0")
    for letter in "ab"
]
HALF_WRITTEN = ("damaged", "not what we write", "cannot be read")


class Work:
    """Promises `engine KEY NUMBER` and `choice NUMBER`. Numbers grow."""

    pause_s = 0.03

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self._store, self._dice = _store(folder), dice
        self.trouble = ""

    def step(self) -> None:
        try:
            self._put()
        except InferenceError as exc:
            self.trouble = str(exc)
        else:
            self.trouble = ""

    def _put(self) -> None:
        number, which = time.monotonic_ns(), self._dice.randrange(len(KEYS))
        self._store.put(KEYS[which], plan(number), build_s=1.0, golden_sha256=GOLDEN)
        promise("engine", which, number)
        if self._dice.random() < 0.5:
            self._store.put_choice(Choice(precision="int8_trt", why=str(number), measured="here"))
            promise("choice", number)

    def settle(self) -> bool:
        self.step()
        return not self.trouble

    def close(self) -> None:
        """Nothing is open between two steps."""


def plan(number: int) -> bytes:
    """What TensorRT 10.3 could have written: its header, the number, and what follows from it."""
    dice = random.Random(number)
    return struct.pack("<6I4BQ", MAGIC, 0, 0, 0, 0, 0, 10, 3, 0, 26, number) + dice.randbytes(dice.randint(*PLAN_BYTES))


def check(folder: Path, promises: Promises) -> str:
    """Each engine and the setting are the last that was written or a newer one, whole, and can be replaced."""
    store = _store(folder)
    for which, key in enumerate(KEYS):
        put = [int(number) for one, number in promises.said("engine") if int(one) == which]
        if wrong := _wrong(store, key, max(put, default=0)):
            return wrong
    chosen, promised = store.choice(), [int(number) for (number,) in promises.said("choice")]
    if promised and (chosen is None or int(chosen.why) < max(promised)):
        return f"the setting that was made is not there: {chosen}"
    store.put(KEYS[0], plan(1), build_s=1.0, golden_sha256=GOLDEN)
    return "" if store.load(KEYS[0], GOLDEN).plan == plan(1) else "an engine cannot be replaced any more"


def _wrong(store: EngineStore, key: Key, promised: int) -> str:
    """0: nothing was promised, but whatever is there has to be whole."""
    try:
        found = store.load(key, GOLDEN).plan
    except InferenceError as exc:
        return str(exc) if promised or any(words in str(exc) for words in HALF_WRITTEN) else ""
    (number,) = struct.unpack_from("<Q", found, HEADER_BYTES)
    if found != plan(number):
        return "an engine is not the one that was put"
    return "" if number >= promised else "an older engine is back"


def _store(folder: Path) -> EngineStore:
    return EngineStore(folder / "engines", MAX_BYTES)
