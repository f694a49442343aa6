"""`python -m server.cli`: the same as `endoedge-server`."""

from server.cli import main

raise SystemExit(main())
