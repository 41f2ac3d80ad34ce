"""SVG charts for a page: lines, bars, scattered points. The browser renders the text, so any script works."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from utils.text import printable

COLOURS = ("#2f6fb5", "#d9722b", "#3a9a5c", "#b5436f", "#7d5bb8", "#8a6a3a", "#2a9aa8", "#a3a020", "#5a6472", "#cf4040")
INK = "#22272e"
_MARGIN = {"left": 46, "right": 16, "top": 8, "bottom": 34}
_TICK_GAP = 42          # approximate distance of ticks in pixels; smaller if needed for
_LEAST_TICKS = 3        # approximate minimum number of ticks
_MOST_POINTS = 400      # per line; further ones are thinned out

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line of a chart, or with `dots` only its points."""

    name: str
    points: Sequence[Point]
    colour: str = COLOURS[0]
    width: float = 1.5
    dots: bool = False


@dataclass(frozen=True)
class Axis:
    """Label and range of an axis; without a limit, that of the values. `log`: logarithmic, for positive values."""

    label: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False


def line_chart(lines: Sequence[Line], x: Axis, y: Axis, width: int = 340, height: int = 220) -> Markup:
    """A chart of lines or points, without legend (see `legend`); values that are not finite are left out."""
    kept = [(line, _finite(line.points, x, y)) for line in lines]
    points = [point for _, of_line in kept for point in of_line]
    if not points:
        return Markup('<p class="note">nothing to draw</p>')
    across = _Scale.of(x, [point[0] for point in points], _MARGIN["left"], width - _MARGIN["right"])
    up = _Scale.of(y, [point[1] for point in points], height - _MARGIN["bottom"], _MARGIN["top"])
    parts = [*_grid(across, up, x.label, y.label, width, height)]
    for line, of_line in kept:
        places = [(across.at(a), up.at(b)) for a, b in _thinned(of_line)]
        if not line.dots:
            parts.append(_polyline(line, places))
        if line.dots or len(places) == 1:       # a line of one point has no length
            parts.append(_dots(line, places))
    return _svg(width, height, parts)


def histogram(values: Sequence[float], x: Axis, of: str = "", bins: int = 24, width: int = 256,
              height: int = 220) -> Markup:
    """A histogram with `bins` equal bins; `of` says what is counted, as the label of the y axis."""
    found = [value for value, _ in _finite([(value, 1.0) for value in values], x, Axis())]
    if not found:
        return Markup('<p class="note">nothing to draw</p>')
    across = _Scale.of(x, found, _MARGIN["left"], width - _MARGIN["right"])
    counts = [0] * bins
    step = (across.end - across.start) / bins
    for value in found:
        counts[min(max(int((across.at(value) - across.start) / step), 0), bins - 1)] += 1
    y = Axis(of, 0)
    up = _Scale.of(y, [max(counts)], height - _MARGIN["bottom"], _MARGIN["top"])
    parts = [*_grid(across, up, x.label, y.label, width, height)]
    parts += [f'<rect x="{across.start + index * step + 0.5:.1f}" y="{up.at(count):.1f}" width="{step - 1:.1f}" '
              f'height="{up.start - up.at(count):.1f}" fill="{COLOURS[0]}"><title>{count}</title></rect>'
              for index, count in enumerate(counts) if count]
    return _svg(width, height, parts)


def legend(lines: Sequence[Line]) -> Markup:
    """A legend with the names and colours of lines."""
    items = [Markup('<span class="key"><i style="background:{}"></i>{}</span>').format(line.colour,
                                                                                       printable(line.name))
             for line in lines]
    return Markup('<p class="legend">{}</p>').format(Markup("").join(items))


def colour(index: int) -> str:
    """The colour of the index-th line."""
    return COLOURS[index % len(COLOURS)]


@dataclass(frozen=True)
class _Scale:
    """Maps values to pixels."""

    low: float
    high: float
    start: float        # pixel of `low`
    end: float          # pixel of `high`
    log: bool

    @classmethod
    def of(cls, axis: Axis, values: Sequence[float], start: float, end: float) -> _Scale:
        low = min(values) if axis.low is None else axis.low
        high = max(values) if axis.high is None else axis.high
        if high <= low:
            low, high = (low / 2, low * 2) if axis.log else (low, low + (abs(low) or 1))
        return cls(low, high, start, end, axis.log)

    def at(self, value: float) -> float:
        share = (math.log(value / self.low) / math.log(self.high / self.low) if self.log
                 else (value - self.low) / (self.high - self.low))
        return self.start + min(max(share, 0), 1) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log:
            steps = [digit * 10.0 ** power for power in range(math.floor(math.log10(self.low)),
                                                              math.ceil(math.log10(self.high)) + 1)
                     for digit in ((1, 2, 5) if self.high / self.low < 300 else (1,))]
            return [value for value in steps if self.low <= value <= self.high]
        rough = (self.high - self.low) * min(_TICK_GAP / abs(self.end - self.start), 1 / _LEAST_TICKS)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def _finite(points: Sequence[Point], x: Axis, y: Axis) -> list[Point]:
    return [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)
            and (a > 0 or not x.log) and (b > 0 or not y.log)]


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    step = -(-len(points) // _MOST_POINTS)
    return [*points[:-1:step], points[-1]] if step > 1 else points


def _grid(across: _Scale, up: _Scale, x_label: str, y_label: str, width: int, height: int) -> list[str]:
    parts = []
    for value in up.ticks():
        parts.append(f'<path class="grid" d="M{across.start} {up.at(value):.1f}H{across.end}"/>'
                     f'<text x="{across.start - 5}" y="{up.at(value) + 3.5:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in across.ticks():
        parts.append(f'<text x="{across.at(value):.1f}" y="{up.start + 14}" text-anchor="middle">{value:.6g}</text>')
    middle = (across.start + across.end) / 2
    parts.append(f'<path class="axis" d="M{across.start} {up.end}V{up.start}H{across.end}"/>'
                 f'<text x="{middle}" y="{height - 5}" text-anchor="middle">{_escaped(x_label)}</text>'
                 f'<text transform="translate(10 {(up.start + up.end) / 2}) rotate(-90)" text-anchor="middle">'
                 f'{_escaped(y_label)}</text>')
    return parts


def _polyline(line: Line, places: Sequence[Point]) -> str:
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    return (f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="{line.width}" '
            f'stroke-linejoin="round"><title>{_escaped(line.name)}</title></polyline>')


def _dots(line: Line, places: Sequence[Point]) -> str:
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{line.width}"/>' for a, b in places)
    return f'<g fill="{line.colour}" fill-opacity="0.5">{dots}</g>'


def _escaped(text: str) -> Markup:
    return Markup.escape(printable(text))


def _svg(width: int, height: int, parts: Sequence[str]) -> Markup:
    return Markup(f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
                  f'{"".join(parts)}</svg>')
