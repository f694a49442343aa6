#!/usr/bin/env bash
# Everything that has to hold: lint, types, import rules, all tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh dev
PATH="$PWD/.venv/bin:$PATH"
echo "== ruff"; ruff check . && ruff format --check .
echo "== mypy"; mypy
echo "== import rules"; lint-imports
echo "== pytest"; exec python -m pytest --numprocesses 2 --dist loadfile "$@"
