"""`python -m persona_profile.cli`: the command without its script."""

import sys

from persona_profile.cli import main

sys.exit(main())
