"""`python -m export.verbs VERB …` is `mobilemod VERB …`."""

import sys

from export.verbs.main import main

sys.exit(main())
