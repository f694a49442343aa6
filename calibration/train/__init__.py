"""Training: a recipe and a manifest to a run's folder, on one CPU, one GPU, or the processes of `torchrun`."""

from calibration.train.distribute import Place, placed
from calibration.train.folder import Epoch, StageFolder
from calibration.train.job import Job, Watcher, trained
from calibration.train.loop import Run, Sources, TrainingError, held_out_dice
from calibration.train.objectives import Segmentation

__all__ = [
    "Epoch",
    "Job",
    "Place",
    "Run",
    "Segmentation",
    "Sources",
    "StageFolder",
    "TrainingError",
    "Watcher",
    "held_out_dice",
    "placed",
    "trained",
]
