"""`python -m bitmosaic` is the command `bitmosaic`."""

from bitmosaic.cli import main

raise SystemExit(main())
