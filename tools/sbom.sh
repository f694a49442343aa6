#!/usr/bin/env bash
# The box's software bill of materials, as CycloneDX 1.6 JSON: Python packages, Debian/Ubuntu packages, model files.
#   tools/sbom.sh [-o FILE] [--python PYTHON] [--root FOLDER]
# On a box: tools/sbom.sh --python /opt/endoedge/venv/bin/python (needs `tools/setup.sh dev` in this checkout, no network).
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python tools/sbom.py "$@"
