"""`python -m edge.cli` is `endoedge`."""

from edge.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
