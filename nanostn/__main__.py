"""`python -m nanostn` is `nanostn`."""

import sys

from nanostn.cli import main

sys.exit(main())
