"""Entry point of ``ssbsn`` and ``python -m ssbsn_cli``."""

import os
import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    # While modules are imported, an exception could come out as one of theirs, with a traceback.
    signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly from the first moment on."""
    from ssbsn_cli.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
