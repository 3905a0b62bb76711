"""`python -m ta_loader.cli`."""

from __future__ import annotations

import sys

from ta_loader.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
