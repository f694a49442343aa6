"""`python -m edge.cli` is `endoedge`."""

from edge.cli import main

raise SystemExit(main())
