"""One page for one run: figures, bars and plots in a single file that needs nothing else."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
table{border-collapse:collapse;width:100%;margin:1rem 0}
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #dde}
.pass{color:#0a6b3d}.fail{color:#b3261e;font-weight:600}.unrun{color:#6b5d00}
code,pre{background:#f4f5f8;padding:.1rem .3rem}
svg{max-width:100%;height:auto}
"""


def frame(title: str, body: str) -> str:
    """A whole page around `body`."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1>{body}</html>\n"
    )


def page(document: Mapping[str, Any]) -> str:
    """The page of a stored result."""
    verdict = "passed" if document["passed"] else "failed"
    facts = {
        "commit": document["commit"],
        "began": document["began"],
        "ended": document["ended"],
        "command": document["command"],
        "machine": json.dumps(document["machine"]),
    }
    parts = [f'<p class="{verdict[:4]}">{verdict}</p>', _facts(facts), _bars(document["bars"])]
    if document["unproven"]:
        parts.append("<h2>Not shown by this run</h2><ul>")
        parts += [f"<li>{escape(text)}</li>" for text in document["unproven"]] + ["</ul>"]
    parts += [f"<h2>{escape(each['title'])}</h2>{_picture(each)}" for each in document["series"]]
    parts.append(f"<h2>Figures</h2><pre>{escape(json.dumps(document['figures'], indent=1, ensure_ascii=False))}</pre>")
    return frame(f"TRIA: {document['suite']}", "".join(parts))


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return f"<table>{rows}</table>"


def _bars(bars: list[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(bar['name'])}</td><td>{escape(bar['wanted'])}</td><td>{escape(bar['measured'])}</td>"
        f"<td>{' '.join(bar['requirements'])}</td>"
        f'<td class="{"pass" if bar["passed"] else "fail"}">{"pass" if bar["passed"] else "fail"}</td></tr>'
        for bar in bars
    )
    return f"<table><tr><th>promise</th><th>wanted</th><th>measured</th><th>for</th><th></th></tr>{rows}</table>"


def _picture(series: Mapping[str, Any]) -> str:
    """An SVG by matplotlib; loaded here because it takes a second."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, line in series["lines"].items():
        if series["kind"] == "bars":
            axes.barh(list(line)[::-1], list(line.values())[::-1], label=name)
        elif series["kind"] == "spread":
            ranked = sorted(line)
            axes.plot([100 * place / max(1, len(ranked)) for place in range(len(ranked))], ranked, label=name)
        else:
            axes.plot([point[0] for point in line], [point[1] for point in line], label=name, linewidth=1.2)
    axes.set_xlabel(series["axes"][0])
    axes.set_ylabel(series["axes"][1])
    axes.grid(visible=True, alpha=0.3)
    if len(series["lines"]) > 1:
        axes.legend()
    made = io.StringIO()
    figure.savefig(made, format="svg")
    drawn = made.getvalue()
    return drawn[drawn.index("<svg") :]
