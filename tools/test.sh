#!/usr/bin/env bash
# Everything that has to hold: lint, types, import rules, all tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh dev
PATH="$PWD/.venv/bin:$PATH"
echo "== ruff"; ruff check . && ruff format --check .
# Types are read with the report server's libraries, which Python 3.10 cannot have.
echo "== mypy"; if python -c 'import fastapi' 2>/dev/null; then mypy; else echo "left out: the server extra is not installed"; fi
echo "== import rules"; lint-imports
echo "== pytest"; exec python -m pytest --numprocesses 2 --dist loadfile "$@"
