"""The command line: `portico COMMAND`, which is `python -m app COMMAND` too."""

import sys

from app.cli.application import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
