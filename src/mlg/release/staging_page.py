"""The report of staging as one page: no script, nothing from elsewhere, every text escaped."""

from collections.abc import Mapping
from html import escape
from typing import Final

from mlg.core.nodes import Attr
from mlg.release.staging import StagingReport, TestResult

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1b1f24;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #d0d7de}
td.n{font-variant-numeric:tabular-nums;text-align:right}
.v{font-weight:600;white-space:nowrap}.PASS{color:#116329}.FAIL,.ERROR{color:#a40e26}
.INCONCLUSIVE{color:#7d4e00}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}
th,td{border-color:#30363d}.PASS{color:#3fb950}.FAIL,.ERROR{color:#ff7b72}
.INCONCLUSIVE{color:#d29922}}
"""


def page(title: str, report: StagingReport, about: Mapping[str, Attr]) -> str:
    """Return the report as HTML 5, to be kept as it is.

    The page forbids itself every script and every address by its own policy. The same
    values give the same bytes. Nothing of a viewer is in it: figures only.

    Args:
        title: Its heading: the service and the version.
        report: What the battery says.
        about: More facts of the run, in order; None is left out.
    """
    facts = "".join(
        f"<tr><th scope=row>{_text(name)}</th><td>{_value(value)}</td></tr>"
        for name, value in about.items()
        if value is not None
    )
    rows = "".join(_row(result) for result in report.results)
    figures = "".join(_figures(result) for result in report.results if result.facts)
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_text(title)}</h1>"
        f'<p><span class="v {_text(report.verdict)}">{_text(report.verdict)}</span> '
        f"{_text(report.reason)}</p>"
        f"<table>{facts}</table>"
        "<h2>Tests</h2><table><thead><tr><th>test</th><th>verdict</th><th>reason</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
        f"{figures}</body></html>\n"
    )


def _row(result: TestResult) -> str:
    verdict = _text(result.verdict)
    note = "" if result.blocks or result.verdict == "PASS" else " (stops nothing)"
    return (
        f"<tr><td>{_text(result.name)}</td>"
        f'<td class="v {verdict}">{verdict}</td>'
        f"<td>{_text(result.reason + note)}</td></tr>"
    )


def _figures(result: TestResult) -> str:
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td class=n>{_value(value)}</td></tr>"
        for name, value in result.facts
    )
    return f"<h2>{_text(result.name)}</h2><table><tbody>{rows}</tbody></table>"


def _value(value: Attr) -> str:
    if isinstance(value, float):
        return _text(f"{value:.6g}")
    return "none" if value is None else _text(str(value))


def _text(text: str) -> str:
    return escape(text, quote=True)
