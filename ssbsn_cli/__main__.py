"""Entry point of ``ssbsn`` and ``python -m ssbsn_cli``."""

from ssbsn_cli.cli.app import main

if __name__ == "__main__":
    main()
