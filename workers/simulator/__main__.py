"""Lets `python3 -m simulator` and `python3 path/to/simulator` start the server."""

import os
import sys

if not __package__:
    # Started as a folder: the folder itself must not shadow top-level modules.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from simulator.main import main  # noqa: E402  (the path above must be set first)

sys.exit(main())
