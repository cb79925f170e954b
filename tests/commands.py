"""Commands in the process of the test, where it can replace parts of them."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from ssbsn_cli.cli.app import app


def ssbsn(*arguments: object, code: int = 0, stdin: bytes | str | None = None) -> Result:
    """Run a command that ends with this exit code and without a traceback."""
    result = CliRunner().invoke(app, [str(each) for each in arguments], input=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result
