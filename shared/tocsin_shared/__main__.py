"""``python -m tocsin_shared`` is the command ``tocsin``, for callers that know only their interpreter."""

import sys

from tocsin_shared.cli import main

sys.exit(main())
