"""What an evaluation found, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def draw_table(found: Mapping[str, Any]) -> Table:
    """Return the table of an evaluation: a section for each group, a row for each method."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    metrics, rows = found["metrics"], found["rows"]
    titles = {method["name"]: method["title"] for method in found["methods"]}
    compared = any(row["worse"] is not None for row in rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", overflow="fold")
    headings = [metric["title"] for metric in metrics]
    headings += ["worse", "least gain"] if compared else []
    for heading in (*headings, "s/Mpx", "MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    groups = list(dict.fromkeys(row["group"] for row in rows))
    for group in groups:
        part = [row for row in rows if row["group"] == group]
        if len(groups) > 1:
            table.add_section()
            table.add_row(Text(f"{group or 'all'} ({part[0]['images']} images)", "bold"))
        for row in part:
            cells = [Text(titles[row["method"]])]
            for metric in metrics:
                scores = [other["scores"][metric["name"]] for other in part]
                best = (max if metric["higher_is_better"] else min)(scores)
                score = row["scores"][metric["name"]]
                style = "bold" if compared and score == best else ""
                cells.append(Text(f"{score:.{metric['digits']}f}", style))
            keys = [("worse", "d"), ("least_gain", "+.2f")] if compared else []
            for key, form in (*keys, ("seconds_per_megapixel", ".3g"), ("peak_mib", ".0f")):
                cells.append(Text("" if row[key] is None else format(row[key], form)))
            table.add_row(*cells)
    return table


def footnotes(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the figures of a table mean."""
    yield f"Protocol: {found['dataset']['protocol']}"
    for metric in found["metrics"]:
        yield f"{metric['title']}: {metric['description']}"
    yield found["rounding"]
    if any(row["worse"] is not None for row in found["rows"]):
        name = found["metrics"][0]["title"]
        yield (
            f"worse: images with less than the noisy input by {name}; least gain: of the image "
            "that gains least by it."
        )
    yield "s/Mpx: seconds per million pixels; MiB: peak memory beyond what was held before."
