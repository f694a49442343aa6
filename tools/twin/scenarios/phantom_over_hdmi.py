"""The software colon comes down the cable: the box finds the endoscope's field by itself, and its model looks."""

from __future__ import annotations

from edge.types import SignalState
from tools.twin.guest import box, player
from tools.twin.guest.twin import START_WITHIN_S, Twin, expect

NEEDS_CLIP = True
LIMIT_S = 600.0
LOOKS = 3  # by the model: seconds each, emulated


def run(twin: Twin) -> None:
    twin.hdmi.load_looped()
    with player.playing():
        twin.start_core({**box.CAPTURE, "field": "auto"}, {"backend": "onnx"})
        twin.wait_for("live", START_WITHIN_S)
        status = twin.wait_for_status(
            "frames that the model saw",
            lambda status: status.state is SignalState.LIVE and status.source.frames >= LOOKS and bool(status.view),
            START_WITHIN_S,
        )
        twin.say(f"{status.source.frames} frames, view {status.view}, {status.detections} detections")
        twin.measure("model, ms a frame (p50)", status.stages["infer"].p50_ms)
        expect(status.model.backend == "onnx", f"the backend is {status.model.backend}")
        expect(status.view != "black", "the model sees a black picture")
