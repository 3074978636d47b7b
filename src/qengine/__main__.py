"""`python -m qengine` is the `qengine` command."""

import sys

from qengine.cli import main

if __name__ == "__main__":  # a handler's own process imports the main module under another name
    sys.exit(main())
