"""A small float net on a frozen encoder's features: standardise, then one or two layers. Seconds on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

from calibration.heads import Head
from calibration.losses import ordinal_loss

EPOCHS, PATIENCE = 60, 20  # at most; and without fewer errors on what is held out
FOLLOW = 0.02  # how fast the averaged weights, which are what is kept, follow the trained ones
BATCH, RATE, DECAY = 128, 2e-3, 0.05
FEWEST_STEPS = 8  # of an epoch: smaller batches where there are few examples
DROPOUT = 0.3  # of the features
HELD_OUT = 0.2  # share of the training groups that decides when to stop, never the validation split

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Examples:
    """`taps` float32 (N, F) or (N, C, h, w), `targets` places in the labels (N,) or maps (N, 1, h, w), a group each."""

    taps: Array
    targets: NDArray[np.generic]
    groups: Sequence[str]


@dataclass(frozen=True)
class Layer:
    """Weight (O, I) or (O, I, k, k) and bias (O,). Between two layers is a ReLU."""

    weight: Array
    bias: Array


FAINTEST = 2.0**-13  # deviation of a feature: weights of it are up to 8192 times larger, and float16 ends at 65504


class _Standardised(nn.Module):
    """Features with mean 0 and deviation 1 over the training set; folded into the first layer afterwards."""

    def __init__(self, taps: Array) -> None:
        super().__init__()
        over = (0, *range(2, taps.ndim))
        shape = (1, -1, *[1] * (taps.ndim - 2))
        self.register_buffer("mean", torch.from_numpy(taps.mean(over, dtype=np.float64).astype(np.float32)).view(shape))
        deviation = taps.std(over, dtype=np.float64).astype(np.float32)
        # A feature that never changed says nothing: it must not shout on the day it does. Nor one that changed by less
        # than a weight in float16 could bring out.
        dead = deviation < max(1e-6 * float(deviation.max()), FAINTEST)
        self.register_buffer("gain", torch.from_numpy(np.where(dead, 0, 1 / np.maximum(deviation, 1e-12))).view(shape))

    def forward(self, taps: Tensor) -> Tensor:
        return (taps - self.get_buffer("mean")) * self.get_buffer("gain").float()


def _net(head: Head, taps: Array) -> nn.Sequential:
    width = taps.shape[1]
    if head.kind == "dense":
        layers: list[nn.Module] = [nn.Conv2d(width, head.hidden, 3, padding=1), nn.ReLU()]
        layers.append(nn.Conv2d(head.hidden, head.outputs, 1))
    else:
        hidden = [nn.Linear(width, head.hidden), nn.ReLU()] if head.hidden else []
        layers = [nn.Dropout(DROPOUT), *hidden, nn.Linear(head.hidden or width, head.outputs)]
    return nn.Sequential(_Standardised(taps), *layers)


def _loss(head: Head, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    if head.kind == "dense":
        return smooth_l1_loss(logits, targets, beta=0.1)
    if head.kind == "ordinal":
        return ordinal_loss(logits, targets)
    return cross_entropy(logits, targets, weights, label_smoothing=0.05)


def balance(head: Head, targets: NDArray[np.generic]) -> Array:
    """Weight of each class: all classes count the same, and the mean over examples is 1."""
    counts = np.bincount(targets.astype(np.intp), minlength=len(head.labels))
    return (len(targets) / (len(head.labels) * np.maximum(counts, 1))).astype(np.float32)


def parted(groups: Sequence[str], targets: NDArray[np.generic], seed: int) -> NDArray[np.bool_]:
    """True (N,) for what is held out: whole groups, HELD_OUT of every class's, one at least."""
    rng = np.random.default_rng((seed, 0x6E1D))
    of_group = dict(zip(groups, targets.tolist(), strict=True))
    held: set[str] = set()
    for target in sorted(set(of_group.values())):
        mine = [group for group, other in of_group.items() if other == target]
        count = max(1, round(HELD_OUT * len(mine)))
        held.update(mine[i] for i in rng.permutation(len(mine))[:count])
    return np.array([group in held for group in groups])


class _Training:
    """One net on one set of examples, epoch by epoch."""

    def __init__(self, head: Head, examples: Examples, seed: int) -> None:
        torch.manual_seed(seed)
        self.head, self.net = head, _net(head, examples.taps)
        self.taps, self.targets = torch.from_numpy(examples.taps), torch.from_numpy(examples.targets)
        dense = head.kind == "dense"
        self.weights = torch.ones(1) if dense else torch.from_numpy(balance(head, examples.targets))
        self.average = copy.deepcopy(self.net).eval()
        self.steps = 0
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=RATE, weight_decay=DECAY)
        self.shuffle = torch.Generator().manual_seed(seed)

    def epoch(self) -> None:
        self.net.train()
        batch = min(BATCH, max(4, len(self.taps) // FEWEST_STEPS))
        for picked in torch.randperm(len(self.taps), generator=self.shuffle).split(batch):  # type: ignore[no-untyped-call]
            loss = _loss(self.head, self.net(self.taps[picked]), self.targets[picked], self.weights)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        """Quickly at first, so that the average forgets the random start."""
        self.steps += 1
        for slow, fast in zip(self.average.parameters(), self.net.parameters(), strict=True):
            slow.lerp_(fast, max(FOLLOW, 1 / self.steps))

    @torch.no_grad()
    def error(self, examples: Examples) -> float:
        """Of the averaged net, every class counting the same; for maps the loss."""
        targets = torch.from_numpy(examples.targets)
        logits = self.average(torch.from_numpy(examples.taps))
        if self.head.kind == "dense":
            return float(_loss(self.head, logits, targets, self.weights))
        wrong = (_places(self.head, logits) - targets).abs().float()
        wrong = wrong if self.head.kind == "ordinal" else wrong.clamp(max=1)
        return float((wrong * self.weights[targets]).mean())


def _places(head: Head, logits: Tensor) -> Tensor:
    """The label that is said, as its place in the list."""
    return (logits > 0).sum(1) if head.kind == "ordinal" else logits.argmax(1)


def _some(examples: Examples, chosen: NDArray[np.bool_]) -> Examples:
    groups = [group for group, keep in zip(examples.groups, chosen, strict=True) if keep]
    return Examples(examples.taps[chosen], examples.targets[chosen], groups)


def trained(head: Head, examples: Examples, seed: int) -> list[Layer]:
    """The head's layers. A part of the groups tells how many epochs are best; then all examples are trained on."""
    if head.ridge:
        return _solved(head, examples)
    if head.kind == "dense":  # the phantom's pictures are all of one patient, and have nothing but walls in common
        keys: NDArray[np.generic] = np.zeros(len(examples.groups))
        out = parted([str(place) for place in range(len(keys))], keys, seed)
    else:
        out = parted(examples.groups, examples.targets, seed)
    epochs = _best_epochs(head, _some(examples, ~out), _some(examples, out), seed)
    training = _Training(head, examples, seed)
    for _ in range(epochs):
        training.epoch()
    return _layers(training.average)


def _solved(head: Head, examples: Examples) -> list[Layer]:
    """A linear classifier with a ridge, to its one optimum, all examples at once; then answers of their due size: a
    ridge shrinks them to all but coin tosses, and one factor makes them as sure again as they have a right to be."""
    taps, targets = torch.from_numpy(examples.taps), torch.from_numpy(examples.targets)
    weights = torch.from_numpy(balance(head, examples.targets))
    standard, linear = _Standardised(examples.taps), nn.Linear(examples.taps.shape[1], head.outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    features = standard(taps)
    optimiser = torch.optim.LBFGS(
        linear.parameters(), max_iter=300, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = cross_entropy(linear(features), targets, weights) + head.ridge / 2 * linear.weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        logits = linear(features)
        grown = {f: float(cross_entropy(logits * f, targets, weights)) for f in np.logspace(0, 2, 81).tolist()}
        factor = min(grown, key=lambda f: grown[f])
        for parameter in linear.parameters():
            parameter.mul_(factor)
    return _layers(nn.Sequential(standard, linear))


def _best_epochs(head: Head, examples: Examples, held_out: Examples, seed: int) -> int:
    training, best, least = _Training(head, examples, seed), 1, np.inf
    for epoch in range(1, EPOCHS + 1):
        training.epoch()
        error = training.error(held_out)
        if error <= least:  # of equals the longest trained: few groups are held out, and their errors are few
            best, least = epoch, error
        elif epoch - best >= PATIENCE:
            break
    return best


def _layers(net: nn.Sequential) -> list[Layer]:
    """The net's weights, the standardisation folded into the first layer's, rounded to what float16 can hold."""
    standard, *_ = net
    convolutions = [copy.deepcopy(m) for m in net if isinstance(m, nn.Linear | nn.Conv2d)]
    layers = [Layer(*(p.detach().numpy() for p in (c.weight, c.bias) if p is not None)) for c in convolutions]
    mean = standard.get_buffer("mean").numpy().ravel().astype(np.float64)
    gain = standard.get_buffer("gain").numpy().ravel().astype(np.float64)
    first = layers[0].weight.astype(np.float64)
    scaled = first * gain.reshape(1, -1, *[1] * (first.ndim - 2))
    shift = (scaled.sum(tuple(range(2, first.ndim))) if first.ndim > 2 else scaled) @ mean
    layers[0] = Layer(scaled.astype(np.float32), (layers[0].bias - shift).astype(np.float32))
    return [Layer(layer.weight.astype(np.float16).astype(np.float32), layer.bias) for layer in layers]


@torch.no_grad()
def answered(layers: Sequence[Layer], taps: Array) -> Array:
    """What the layers say of `taps`: logits (N, K), or maps (N, 1, h, w)."""
    x = torch.from_numpy(taps)
    for place, layer in enumerate(layers):
        weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
        x = x.relu() if place else x
        x = x @ weight.T + bias if weight.ndim == 2 else torch.conv2d(x, weight, bias, padding="same")
    return np.asarray(x.numpy(), np.float32)
