#!/usr/bin/env bash
# The main job on this machine: picture -> INT8 model -> MQTT alerts, with a summary. Arguments go to `endoedge demo`.
set -euo pipefail
"$(dirname "$0")/setup.sh" >&2
exec "$(dirname "$0")/../.venv/bin/endoedge" demo "$@"
