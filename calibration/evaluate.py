"""Moved to `calibration.eval`; these names stay until their users have followed."""

from calibration.eval.overlap import Overlap, mean_overlap, overlap
from calibration.eval.runner import Runner, milliseconds

__all__ = ["FALSE_AREA", "Overlap", "Runner", "false_share", "mean_overlap", "milliseconds", "overlap"]

FALSE_AREA = 0.005


def false_share(runner, pictures):  # type: ignore[no-untyped-def]
    """Share of polyp-free pictures on which at least FALSE_AREA is marked."""
    marked = [(runner.logits(picture) > 0).mean() >= FALSE_AREA for picture in pictures]
    return sum(marked) / len(marked)
