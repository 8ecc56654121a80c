"""Draw what was measured."""
from __future__ import annotations

from .report import median_row

WIDTH, HEIGHT = 12, 3.2
COLOURS = {"ours": "#1b7f4b", "ours-plain": "#7fbf9f", "floor": "#999999"}
PEER = "#4a6fa5"
MOST_PANELS = 3
WIDE = 20
"""The factor between values from which on a scale is logarithmic, instead of starting at 0."""

NOT_DRAWN = ("delivered", "bulk_delivered", "refused", "lost", "max", "bulk_p50")


def draw(path, results):
    """Draw one row of panels for each table, or lines where it has a size on its axis."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(results), MOST_PANELS, squeeze=False,
                                   figsize=(WIDTH, HEIGHT * len(results)))
    for row_of_axes, (scenario, rows) in zip(axes, results):
        medians = {name: median_row(found) for name, found in rows.items()}
        if scenario.axis:
            _lines(row_of_axes, scenario, medians)
        else:
            _bars(row_of_axes, scenario, medians)
        row_of_axes[0].set_title(scenario.heading(), loc="left", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _bars(axes, scenario, rows):
    columns = [column for column in scenario.columns if column.key not in NOT_DRAWN
               and any(row.get(column.key) for row in rows.values())]
    for axis, column in zip(axes, columns):
        shown = {name: row[column.key] * column.factor for name, row in rows.items()
                 if row.get(column.key)}
        axis.barh(list(shown), list(shown.values()),
                  color=[COLOURS.get(name, PEER) for name in shown])
        axis.invert_yaxis()
        axis.set_xlabel(column.title, fontsize=8)
        axis.tick_params(labelsize=7)
        if max(shown.values()) > WIDE * min(shown.values()):
            axis.set_xscale("log")
            axis.set_xlim(left=min(shown.values()) / 2)
    for axis in axes[len(columns):]:
        axis.set_visible(False)


def _lines(axes, scenario, rows):
    columns = [column for column in scenario.columns if column.key not in NOT_DRAWN]
    for axis, column in zip(axes, columns):
        for name, row in rows.items():
            points = [(step[scenario.axis], step[column.key] * column.factor)
                      for step in row.get("steps", ()) if step.get(column.key)]
            if points:
                axis.plot(*zip(*points), marker="o", markersize=3, label=name,
                          color=COLOURS.get(name), linewidth=2 if name in COLOURS else 1)
        axis.set_xscale("log")
        _scale(axis)
        axis.set_xlabel(scenario.axis, fontsize=8)
        axis.set_ylabel(column.title, fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].legend(fontsize=6)


def _scale(axis):
    values = [value for line in axis.lines for value in line.get_ydata()]
    if values and max(values) > WIDE * min(values):
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
