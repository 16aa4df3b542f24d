"""HTML that all report pages share: plain, light, with everything they show inside them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

_STYLE = """
:root { --ink: #1f2933; --faint: #616e7c; --line: #e4e7eb; --accent: #0b7285; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 48px 24px 72px; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 56px 0 4px; padding-top: 20px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 28px 0 8px; }
p { margin: 6px 0 14px; max-width: 72ch; }
.faint, figcaption, footer { color: var(--faint); }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 28px 0 8px; }
.figure { flex: 1 1 200px; border: 1px solid var(--line); border-radius: 8px; padding: 14px 18px; }
.figure b { display: block; font-size: 30px; line-height: 1.2; font-weight: 650; letter-spacing: -0.02em; }
.figure.accent b { color: var(--accent); }
.figure span { color: var(--faint); font-size: 14px; }
img, video { max-width: 100%; height: auto; display: block; }
figure { margin: 14px 0; }
figcaption { font-size: 14px; margin-top: 6px; }
.scroll { overflow-x: auto; }
.pair { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 20px; align-items: center; }
@media (max-width: 760px) { .pair { grid-template-columns: 1fr; } }
table { border-collapse: collapse; width: 100%; margin: 14px 0; font-size: 15px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--faint); font-size: 13px; }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.after td { color: var(--accent); font-weight: 600; }
tr.after td.note { color: var(--faint); font-weight: 400; }
td.note { color: var(--faint); }
td.state { font-weight: 600; white-space: nowrap; color: var(--faint); }
td.state.met { color: #2b8a3e; }
td.state.not-met { color: #c2410c; }
.short b { display: inline-block; min-width: 17em; }
"""


def document(title: str, sections: Sequence[str]) -> str:
    """A whole page of sections; empty ones are left out."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


def picture(name: str, assets: Mapping[str, bytes], meaning: str) -> str:
    """One of the assets, inside the page."""
    source = f"data:image/png;base64,{b64encode(assets[name]).decode()}"
    return f'<figure class="scroll"><img src="{source}" alt="{escape(meaning)}"></figure>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    kinds = ["", *[' class="number"'] * (len(columns) - 1)]

    def line(cells: Sequence[str], tag: str) -> str:
        marked = zip(cells, kinds, strict=True)
        return f"<tr>{''.join(f'<{tag}{kind}>{escape(cell)}</{tag}>' for cell, kind in marked)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table>{line(columns, "th")}{body}</table></div>'


def facts_section(facts: Mapping[str, str]) -> str:
    """Where the figures come from."""
    rows = "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts.items())
    return f"<section>\n<h2>Where the figures come from</h2>\n<table>{rows}</table>\n</section>" if facts else ""
