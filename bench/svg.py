"""Two kinds of plot as SVG: lines over an axis, and bars of ratios. They bring their own background, light or dark as the
reader's system is, so that they can be read on any page."""
import math
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 760, 70, 20, 44, 56
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#6a5acd"]
STYLE = """<style>
.page{fill:#fff}.text{fill:#24292f;font:13px sans-serif}.title{font-size:16px;font-weight:600}
.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#57606a;stroke-width:1}
@media (prefers-color-scheme:dark){.page{fill:#0d1117}.text{fill:#e6edf3}.grid{stroke:#30363d}.axis{stroke:#8b949e}}
</style>"""


def text(x, y, words, anchor="start", kind="text", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{more}>{escape(str(words))}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def page(height, title, parts):
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">')
    return "\n".join([head, STYLE, f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
                      text(LEFT, 26, title, kind="text title"), *parts, "</svg>"]) + "\n"


def short(value):
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


class LogScale:
    """Maps values above 0 to a stretch of the page, whole decades; or the values that occur, evenly spaced."""

    def __init__(self, values, start, end):
        values = [value for value in values if value > 0] or [1]
        self.low = math.floor(math.log10(min(values)) + 1e-9)
        self.high = max(math.ceil(math.log10(max(values)) - 1e-9), self.low + 1)
        self.start, self.end = start, end

    def __call__(self, value):
        exponent = math.log10(value) if value > 0 else self.low
        part = (min(max(exponent, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self):
        return [10.0 ** exponent for exponent in range(self.low, self.high + 1)]


def legend(names, y, dashed):
    parts, x = [], LEFT
    for number, name in enumerate(names):
        parts.append(f'<rect x="{x}" y="{y - 9}" width="14" height="4" fill="{COLOURS[number % len(COLOURS)]}"/>')
        parts.append(text(x + 19, y, name))
        x += 34 + 7.2 * len(name)
    if dashed:
        parts.append(text(x, y, "dashed: predicted"))
    return parts


def lines(title, x_label, y_label, series, dashed=()):
    """series: {name: [(x, y)]}, the x of all of them evenly spaced in order; `dashed`: the same for predictions, in the
    colour of the series of that name. The y axis is logarithmic."""
    dashed = dict(dashed)
    height, bottom = 420, 420 - BOTTOM - 18
    places = sorted({x for points in series.values() for x, _ in points})
    step = (WIDTH - LEFT - RIGHT) / max(len(places), 1)
    at = {x: LEFT + step * (number + 0.5) for number, x in enumerate(places)}
    scale = LogScale([y for points in [*series.values(), *dashed.values()] for _, y in points], bottom, TOP)
    parts = []
    for tick in scale.ticks():
        parts += [line(LEFT, scale(tick), WIDTH - RIGHT, scale(tick), "grid"),
                  text(LEFT - 8, scale(tick) + 4, short(tick), "end")]
    parts.append(line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis"))
    parts += [text(at[x], bottom + 18, f"{x:g}", "middle") for x in places]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 36, x_label, "middle"))
    parts.append(text(16, (TOP + bottom) / 2, y_label, "middle", more=f' transform="rotate(-90 16 {(TOP + bottom) / 2})"'))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        for pairs, dash in ((points, ""), (dashed.get(name, []), ' stroke-dasharray="5 4"')):
            path = " ".join(f"{at[x]:.1f},{scale(y):.1f}" for x, y in sorted(pairs))
            if path:
                parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{at[x]:.1f}" cy="{scale(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
    return page(height, title, parts + legend(series, height - 14, bool(dashed)))


def bars(title, x_label, names, series):
    """series: {name: [ratio for each of `names`]}; bars start at 1 and the axis is logarithmic."""
    left, row = 250, 9 * len(series) + 7
    bottom = TOP + row * len(names)
    height = bottom + 66
    scale = LogScale([value for values in series.values() for value in values if value] + [0.5, 2], left, WIDTH - RIGHT)
    parts = []
    for tick in scale.ticks():
        for part in (1, 2, 5):
            if tick * part <= scale.ticks()[-1]:
                x = scale(tick * part)
                parts += [line(x, TOP, x, bottom, "axis" if tick * part == 1 else "grid"),
                          text(x, bottom + 16, short(tick * part), "middle")]
    for place, name in enumerate(names):
        top = TOP + row * place + 3
        parts.append(text(left - 8, top + row / 2, name, "end"))
        for number, values in enumerate(series.values()):
            if values[place]:
                x = sorted((scale(1), scale(values[place])))
                parts.append(f'<rect x="{x[0]:.1f}" y="{top + 9 * number}" width="{max(x[1] - x[0], 1):.1f}" height="8" '
                             f'fill="{COLOURS[number % len(COLOURS)]}"/>')
    parts.append(text((left + WIDTH - RIGHT) / 2, bottom + 34, x_label, "middle"))
    return page(height, title, parts + legend(series, height - 12, False))
