"""Charts as SVG text: a few lines over two axes, which is all that the page needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 380, 300  # px, of one chart
LEFT, RIGHT, TOP, BOTTOM = 48, 20, 34, 44  # px around the axes
INKS = ("#4269d0", "#d9480f", "#2b8a3e", "#862e9c", "#5c7080", "#b8860b")
TICKS = 5

ROUND = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0)  # ends of axes that read well

Points = Sequence[tuple[float, float]]


def rounded_up(value: float) -> float:
    """The least round number that is not below `value`, which is above 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in ROUND if step * power >= value * (1 - 1e-9))


@dataclass(frozen=True)
class Axis:
    """What runs along it, from where to where."""

    words: str
    low: float = 0.0
    high: float = 1.0

    def share(self, value: float) -> float:
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        return [self.low + (self.high - self.low) * place / TICKS for place in range(TICKS + 1)]


@dataclass(frozen=True)
class Chart:
    """Lines by name. `diagonal`: where said and true would be the same. `marked`: a point, and its words."""

    title: str
    across: Axis
    up: Axis
    lines: Mapping[str, Points]
    diagonal: bool = False
    marked: tuple[float, float, str] | None = None
    falling: bool = False

    def svg(self) -> str:
        parts = [*self._frame(), *self._lines(), *self._legend()]
        body = "\n".join(parts)
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"'
            f' aria-label="{escape(self.title)}" font-size="11" fill="#222">\n{body}\n</svg>'
        )

    def _at(self, point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + self.across.share(point[0]) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - self.up.share(point[1]) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    def _frame(self) -> list[str]:
        parts = [f'<text x="{LEFT}" y="18" font-size="13" font-weight="600">{escape(self.title)}</text>']
        for value in self.up.ticks():
            x, y = self._at((self.across.low, value))
            parts.append(f'<line x1="{x}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#ddd"/>')
            parts.append(f'<text x="{x - 5}" y="{y + 4}" text-anchor="end">{value:.3g}</text>')
        for value in self.across.ticks():
            x, y = self._at((value, self.up.low))
            parts.append(f'<text x="{x}" y="{y + 15}" text-anchor="middle">{value:.3g}</text>')
        middle, floor = LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 8
        parts.append(f'<text x="{middle}" y="{floor}" text-anchor="middle">{escape(self.across.words)}</text>')
        turn = f'transform="translate(12 {TOP + (HEIGHT - TOP - BOTTOM) / 2}) rotate(-90)"'
        parts.append(f'<text {turn} text-anchor="middle">{escape(self.up.words)}</text>')
        return parts

    def _lines(self) -> list[str]:
        parts = []
        if self.diagonal:
            (x1, y1), (x2, y2) = self._at((self.across.low, self.up.low)), self._at((self.across.high, self.up.high))
            parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#999" stroke-dasharray="4 3"/>')
        for place, points in enumerate(self.lines.values()):
            ink, drawn = INKS[place % len(INKS)], [self._at(point) for point in points]
            path = " ".join(f"{x},{y}" for x, y in drawn)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{ink}" stroke-width="1.8"/>')
            parts += [f'<circle cx="{x}" cy="{y}" r="2.2" fill="{ink}"/>' for x, y in drawn]
        if self.marked:
            x, y = self._at(self.marked[:2])
            parts.append(f'<circle cx="{x}" cy="{y}" r="6" fill="none" stroke="#000" stroke-width="1.5"/>')
        return parts

    def _legend(self) -> list[str]:
        """In the right corner where the curves leave room: below those that rise, above those that fall."""
        names = [*self.lines, *([f"◯ {self.marked[2]}"] if self.marked else [])]
        parts = []
        for place, name in enumerate(names):
            y = TOP + 14 * (1 + place) if self.falling else HEIGHT - BOTTOM - 10 - 14 * (len(names) - 1 - place)
            ink = INKS[place % len(INKS)] if place < len(self.lines) else "#000"
            parts.append(f'<text x="{WIDTH - RIGHT - 6}" y="{y}" text-anchor="end" fill="{ink}">{escape(name)}</text>')
        return parts
