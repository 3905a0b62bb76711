"""`python -m ta_loader.cli`."""

from __future__ import annotations

import sys

from ta_loader.cli.dispatch import main

sys.exit(main())
