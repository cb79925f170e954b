"""A self-contained HTML page: its frame, its style, and tables with everything escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

# The policy makes browsers keep the promise that the page fetches nothing.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}{script}</body>
</html>
"""
STYLE = """
:root { color-scheme: light dark; --text: #1c1f24; --dim: #667080; --back: #fff; --line: #dfe3e8;
  --raw: #b9cbe6; --smooth: #2563b8; --check: #c2570c; --noisy: #8a8f98; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7eb; --dim: #98a1ae; --back: #15181c;
  --line: #31373f; --raw: #30456a; --smooth: #74a7f0; --check: #f0944d; --noisy: #888f99; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; }
.dim, .note { color: var(--dim); }
.charts, .crops { display: grid; gap: 1rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
figure { margin: 0; }
figcaption { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.crops img { width: 100%; border-radius: 4px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .25rem 1.5rem .25rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--text); }
svg .dim { fill: var(--dim); }
.tick { text-anchor: middle; }
.value { text-anchor: end; }
.grid, .axis { fill: none; stroke: var(--line); }
.axis { stroke: var(--dim); }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
polyline.raw { stroke-width: 1; }
.raw { stroke: var(--raw); } .smooth { stroke: var(--smooth); }
.check { stroke: var(--check); } .noisy { stroke: var(--noisy); }
.noisy { stroke-dasharray: 5 4; }
circle { stroke: none !important; fill: transparent; }
circle.dot.smooth { fill: var(--smooth); }
circle.dot.check { fill: var(--check); }
circle.dot.noisy { fill: var(--noisy); }
.key::before { content: ""; display: inline-block; width: 1.2em; margin-right: .4em;
  vertical-align: middle; border-top: 3px solid var(--raw); }
.key.smooth::before { border-color: var(--smooth); }
.key.check::before { border-color: var(--check); }
.key.noisy::before { border-top: 3px dashed var(--noisy); }
"""


def make_page(
    title: str, sections: Iterable[tuple[str, str]], *, style: str = "", script: str = ""
) -> bytes:
    """Return a page as UTF-8.

    Parameters
    ----------
    title : str
        Plain text.
    sections : iterable of (str, str)
        Heading as plain text, and HTML. Without HTML, a section is left out; without a heading,
        it has none.
    style, script : str
        CSS beside that of every page, and JavaScript, which most pages have none of.
    """
    parts = [
        (f"<h2>{escape(heading)}</h2>\n" if heading else "") + html + "\n"
        for heading, html in sections
        if html
    ]
    page = PAGE.format(
        title=escape(title),
        style=STYLE + style,
        body="".join(parts),
        policy="; script-src 'unsafe-inline'" if script else "",
        script=f"<script>\n{script}</script>\n" if script else "",
    )
    # Names of files that are no UTF-8 come as lone surrogates, which cannot be encoded.
    return page.encode("utf-8", "backslashreplace")


def make_table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 99) -> str:
    """Return a table as HTML; an empty string if it has no rows.

    Parameters
    ----------
    header : sequence of str
        Plain text; empty for a table without header.
    rows : iterable of sequences of str
        Plain text; the first of each names the row.
    numbers_from : int
        Columns from this one on are aligned as numbers.
    """
    classes = [' class="number"' if i >= numbers_from else "" for i in range(100)]
    lines = [
        "".join(
            f"<{'td' if i else 'th'}{classes[i]}>{escape(cell)}</{'td' if i else 'th'}>"
            for i, cell in enumerate(row)
        )
        for row in rows
    ]
    if not lines:
        return ""
    if header:
        cells = (f"<th{classes[i]}>{escape(cell)}</th>" for i, cell in enumerate(header))
        lines.insert(0, "".join(cells))
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table>\n{body}\n</table></div>'


def make_note(text: str) -> str:
    """Return a paragraph of plain text that says what is missing."""
    return f'<p class="note">{escape(text)}</p>'
