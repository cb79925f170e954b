"""``ssbsn info``: what a bug report needs to say about a machine."""

from __future__ import annotations

from ssbsn_cli.cli.output import Output


def info(out: Output) -> None:
    """Show versions, devices, memory, chosen precision and tile, cache and weights.

    Paste this into a bug report.
    """
    from ssbsn_cli.core.inference.system import describe_system

    facts = describe_system()
    out.record(facts)
    # No table, which would fold long paths: people paste this.
    width = max(map(len, facts)) + 2
    for key, value in facts.items():
        heading = key.replace("_", " ")
        for line in value if isinstance(value, list) else [value]:
            out.show(f"{heading:<{width}}{line}")
            heading = ""
