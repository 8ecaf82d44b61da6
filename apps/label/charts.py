"""Charts as inline SVG: a histogram, and bars of named counts."""

import html
from collections.abc import Iterable

from .survey import Histogram

WIDTH, HEIGHT = 300, 122  # units of the picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 4.0, 296.0, 14.0, 102.0  # of the area of the bars
_TICKS = 5


def histogram(given: Histogram) -> str:
    """Return a histogram with its title, its number of values and their mean."""
    most, width = max(int(given.counts.max()), 1), (_RIGHT - _LEFT) / given.bins
    step = (given.high - given.low) / given.bins
    parts = []
    for k, count in enumerate(given.counts.tolist()):
        height = (_BOTTOM - _TOP) * count / most
        low, high = given.low + k * step, given.low + (k + 1) * step
        parts.append(f'<rect x="{_LEFT + k * width:.2f}" y="{_BOTTOM - height:.2f}" width="{0.88 * width:.2f}" '
                     f'height="{height:.2f}"><title>{low:g} to {high:g}: {count:,}</title></rect>')  # fmt: skip
    for k in range(_TICKS):
        share = k / (_TICKS - 1)
        anchor = "start" if k == 0 else "end" if k == _TICKS - 1 else "middle"
        parts.append(f'<text x="{_LEFT + share * (_RIGHT - _LEFT):.1f}" y="{_BOTTOM + 14:.1f}" '
                     f'text-anchor="{anchor}">{given.low + share * (given.high - given.low):g}</text>')  # fmt: skip
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 4.0}">{most:,}</text>')
    parts.append(f'<line x1="{_LEFT}" y1="{_BOTTOM}" x2="{_RIGHT}" y2="{_BOTTOM}"/>')
    return (f'<figure class="chart"><figcaption>{html.escape(_heading(given))}</figcaption>'
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'
            f"<p>{html.escape(_summary(given))}</p></figure>")  # fmt: skip


def bars(rows: Iterable[tuple[str, int, str]]) -> str:
    """Return a table of (text, count, class of its bar), each with a bar as long as its share of the sum."""
    given = list(rows)
    whole = max(sum(count for _, count, _ in given), 1)
    lines = []
    for text, count, kind in given:
        bar = f'<rect class="{html.escape(kind)}" width="{100.0 * count / whole:.3f}" height="10"/>'
        svg = f'<svg viewBox="0 0 100 10" preserveAspectRatio="none">{bar}</svg>'
        share = f"{100.0 * count / whole:.1f} %"
        lines.append(f'<tr><th scope="row"><bdi>{html.escape(text)}</bdi></th><td class="number">{count:,}</td>'
                     f'<td class="number">{share}</td><td class="bar">{svg}</td></tr>')  # fmt: skip
    return f"<table>{''.join(lines)}</table>"


def _heading(given: Histogram) -> str:
    return f"{given.title}, {given.unit}" if given.unit else given.title


def _summary(given: Histogram) -> str:
    if given.mean is None:
        return "no values"
    text = f"{given.number:,} faces, mean {given.mean:.3g}"
    if given.beyond:
        text += f"; {given.beyond:,} beyond the ends, counted there"
    return f"{text}; {given.missing:,} without" if given.missing else text
