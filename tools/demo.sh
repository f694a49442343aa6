#!/usr/bin/env bash
# The main job on this machine: picture -> INT8 model -> MQTT alerts, with a summary. Arguments go to `endoedge demo`.
#   tools/demo.sh --update [--image FILE]         a release comes while the box works: tools/demo_with_update.py says how
#   tools/demo.sh --with-server [--unattended]    and a report at its end: tools/demo_with_server.py says how
set -euo pipefail
here="$(cd "$(dirname "$0")/.." && pwd)"
"$here/tools/setup.sh" >&2
if [ "${1:-}" = --with-server ]; then
  shift
  "$here/tools/setup.sh" server >&2
  PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" exec "$here/.venv/bin/python" -m tools.demo_with_server "$@"
fi
if [ "${1:-}" = --update ]; then
  shift
  "$here/tools/setup.sh" dev >&2
  PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" exec "$here/.venv/bin/python" -m tools.demo_with_update "$@"
fi
exec "$here/.venv/bin/endoedge" demo "$@"
