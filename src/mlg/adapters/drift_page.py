"""The report of a check as one page: verdicts, and control charts drawn by matplotlib."""

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import numpy as np

from mlg.core.errors import BackendError
from mlg.monitors.check import ChartFound, CheckReport, Drawn, FeatureFound

MOST_DRAWN: Final = 24
"""Charts on a page; the columns that drifted come first."""

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;
color:#1b1f24;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #d0d7de}
td.n{font-variant-numeric:tabular-nums;text-align:right}
.drift{color:#a40e26;font-weight:600}.ok{color:#116329;font-weight:600}
figure{margin:1.5rem 0}svg{max-width:100%;height:auto}
"""


def drift_page(report: CheckReport, title: str) -> str:
    """Return the report as HTML 5: no script, nothing from elsewhere, every text escaped.

    The same report gives the same bytes.

    Raises:
        BackendError: matplotlib, which draws, is not installed.
    """
    rows = "".join(_row(one) for one in sorted(report.features, key=_order))
    parts = "".join(
        f"<li>{escape(one.feature)} moved by {one.effect:+.2f} sd where "
        f"{escape(one.where)} ({one.share:.1%} of rows)</li>"
        for one in report.slices
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    figures = "".join(
        f"<figure>{_svg(one)}<figcaption>{escape(one.metric)}</figcaption></figure>"
        for one in _shown(report)
    )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>"
        f'<p><span class="{report.verdict}">{report.verdict}</span>: '
        f"{report.rows['baseline']:,} rows in {report.windows['baseline']} windows, then "
        f"{report.rows['live']:,} in {report.windows['live']}. A check of tables that do not "
        f"differ names a column once in {1 / report.alpha:,.0f} checks.</p>"
        f"{f'<h2>Parts</h2><ul>{parts}</ul>' if parts else ''}"
        "<h2>Columns</h2><table><thead><tr><th>column</th><th>verdict</th><th>chart</th>"
        "<th>statistic</th><th>limit</th><th>effect</th><th>what</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        f"{f'<h2>Notes</h2><ul>{notes}</ul>' if notes else ''}"
        f"<h2>Control charts</h2>{figures or '<p>Nothing to draw.</p>'}</body></html>\n"
    )


def _order(one: FeatureFound) -> tuple[bool, float]:
    worst = max((_ratio(chart) for chart in one.charts), default=0.0)
    return one.verdict == "ok", -worst


def _ratio(chart: ChartFound) -> float:
    return abs(chart.statistic) / max(chart.limit, 1e-9)


def _row(one: FeatureFound) -> str:
    chart = one.charts[0] if one.charts else None
    figures = "<td></td><td class=n></td><td class=n></td><td class=n></td>"
    if chart is not None and chart.chart != "schema":
        figures = (
            f"<td>{chart.chart}</td><td class=n>{chart.statistic:.2f}</td>"
            f"<td class=n>{chart.limit:.2f}</td><td class=n>{chart.effect:+.3f}</td>"
        )
    what = one.note or (chart.metric if chart else "")
    return (
        f'<tr><td>{escape(one.feature)}</td><td class="{one.verdict}">{one.verdict}</td>'
        f"{figures}<td>{escape(what)}</td></tr>"
    )


def _shown(report: CheckReport) -> Sequence[Drawn]:
    """Return what is drawn: statistics of drifted columns first, then those nearest to it."""
    ranked = sorted(
        (_order(one), -_ratio(chart), chart.metric)
        for one in report.features
        for chart in one.charts
        if chart.chart in {"mean", "ewma"}
    )
    by_metric = {one.metric: one for one in report.drawn}
    metrics = dict.fromkeys(metric for *_, metric in ranked if metric in by_metric)
    return [by_metric[metric] for metric in list(metrics)[:MOST_DRAWN]]


def _svg(one: Drawn) -> str:
    figure_of, canvas_of, settings = _matplotlib()
    with settings({"svg.hashsalt": "mlg", "svg.fonttype": "none"}):
        figure = figure_of(figsize=(9, 2.2), layout="constrained")
        canvas_of(figure)
        axes = figure.add_subplot()
        before = np.arange(len(one.base)) - len(one.base)
        after = np.arange(len(one.live))
        axes.plot(before, one.base, ".", color="#8c959f", markersize=3, label="baseline")
        axes.plot(after, one.live, ".", color="#54aeff", markersize=3, label="live")
        axes.plot(after, one.ewma, color="#0969da", linewidth=1.4, label="EWMA")
        axes.axhline(one.centre, color="#57606a", linewidth=0.8)
        for side in (-1, 1):
            axes.hlines(one.centre + side * one.limit, 0, len(one.live), color="#a40e26",
                        linewidth=0.9, linestyles="dashed")  # fmt: skip
        axes.axvline(0, color="#d0d7de", linewidth=0.8)
        axes.set_xlabel("window")
        axes.legend(loc="upper left", fontsize=7, ncols=3, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    # inline, so without the prologue of a file
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), count=1, flags=re.DOTALL)


def _matplotlib() -> tuple[Any, Any, Any]:
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendError(
            "the page's charts are drawn by matplotlib, which is not installed",
            hint="pip install 'mlg[report]'",
        ) from error
    return Figure, FigureCanvasSVG, rc_context
