"""Entry point of ``ssbsn`` and ``python -m ssbsn_cli``."""

# Until the handler is set, Ctrl-C prints a Python traceback. Importing signal would take as long as
# everything before it; it is built on this module, which is part of the interpreter.
import _signal  # type: ignore[import-not-found]
import os

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    # During imports, an exception could turn into one of the modules' own, with a traceback.
    _signal.signal(_signal.SIGINT, lambda number, _: os._exit(128 + number))


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly from the start."""
    from ssbsn_cli.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
