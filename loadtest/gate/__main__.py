"""`python -m loadtest.gate RUN_FOLDER`."""

import sys

from loadtest.gate.gate import main

sys.exit(main())
