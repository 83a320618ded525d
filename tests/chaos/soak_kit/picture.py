"""A picture of memory over time, as SVG: one line for each process."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.soak_kit.watch import Sample
from tests.support.drawing import Drawing

_WIDTH, _HEIGHT = 860, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 150, 40, 50
_COLOURS = ("#1b6ca8", "#c8553d", "#2e8b57", "#8e44ad", "#b8860b", "#555555")
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_MOST_LINES = 8


def picture(samples: Sequence[Sample], names: Sequence[str], since_s: float, title: str) -> str:
    """The picture; growth is judged right of `since_s`."""
    end_s = max(samples[-1].at_s, 1.0)
    most = max(each.mib[name] for each in samples for name in names) * 1.1
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(at_s: float) -> float:
        return _LEFT + at_s / end_s * wide

    def y(mib: float) -> float:
        return _TOP + (1 - mib / most) * high

    drawing = Drawing(_WIDTH, _HEIGHT, title, left=_LEFT)
    drawing.add("rect", x=x(since_s), y=_TOP, width=x(end_s) - x(since_s), height=high, fill="#eef3f7")
    step = _step(most)
    for n in range(int(most / step) + 1):
        at = y(n * step)
        drawing.add("line", x1=_LEFT, x2=_LEFT + wide, y1=at, y2=at, stroke="#ddd")
        drawing.text(_LEFT - 6, at + 4, str(n * step), text_anchor="end")
    minutes = end_s / 60
    step = _step(minutes)
    for n in range(int(minutes / step) + 1):
        drawing.text(x(n * step * 60), _TOP + high + 18, str(n * step), text_anchor="middle")
    drawing.text(_LEFT + wide / 2, _HEIGHT - 10, "minutes", text_anchor="middle")
    drawing.text(14, _TOP - 8, "MiB")
    for index, name in enumerate(names):
        colour = _COLOURS[index % len(_COLOURS)]
        points = " ".join(f"{x(each.at_s):.1f},{y(each.mib[name]):.1f}" for each in samples)
        drawing.add("polyline", points=points, fill="none", stroke=colour, stroke_width=1.5)
        label = _TOP + 14 + 20 * index
        drawing.add("rect", x=_WIDTH - _RIGHT + 14, y=label - 9, width=12, height=10, fill=colour)
        drawing.text(_WIDTH - _RIGHT + 32, label, name)
    return drawing.svg()


def _step(most: float) -> int:
    """The distance of lines, so that there are few."""
    return next((step for step in _STEPS if most / step <= _MOST_LINES), _STEPS[-1])
