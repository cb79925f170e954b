"""``ssbsn info``: what a bug report needs to say about a machine."""

from __future__ import annotations

from ssbsn_cli.cli.output import Output


def info(out: Output) -> None:
    """Show versions, devices, memory, chosen precision and tile, cache and weights.

    Paste this into a bug report.
    """
    from rich.table import Table

    from ssbsn_cli.core.inference.system import describe_system

    facts = describe_system()
    out.record(facts)
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        lines = value if isinstance(value, list) else [value]
        table.add_row(key.replace("_", " "), "\n".join(str(line) for line in lines))
    out.show(table)
