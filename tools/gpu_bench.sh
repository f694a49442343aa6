#!/usr/bin/env bash
# Measures the x86 CUDA path on a machine with an NVIDIA GPU, which needs no network, no GStreamer and no Python.
#   tools/gpu_bench.sh pack [--into FOLDER]                  where there is a network: gathers what the run needs (GiB)
#   tools/gpu_bench.sh run [--from FOLDER] [--json FILE] ...  on the GPU machine, in a copy of this checkout
# Exit codes: 0 measured, 1 no GPU, a wrong pixel or a copy, 2 usage or a part missing. docs/on-device.md says what it proves.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
usage() { sed -n '2,5s/^# \{0,1\}//p' "$here/tools/gpu_bench.sh" >&2; exit 2; }
missing() { echo "gpu_bench: $*" >&2; exit 2; }
command=${1:-}
[ $# -gt 0 ] && shift
case "$command" in
  pack)
    if [ ! -x "$here/.venv/bin/python" ]; then "$here/tools/setup.sh"; fi
    PYTHONPATH=$here exec "$here/.venv/bin/python" -m tools.gpu_bench.pack "$@" ;;
  run) ;;
  *) usage ;;
esac

folder=${XDG_CACHE_HOME:-$HOME/.cache}/endoedge/gpu-bench
if [ "${1:-}" = --from ]; then
  [ $# -ge 2 ] || usage
  folder=$2
  shift 2
fi
[ -f "$folder/packed.json" ] || missing "$folder holds no finished pack: tools/gpu_bench.sh pack makes one where there is a network"
folder=$(cd "$folder" && pwd)
[ -w "$folder" ] || missing "$folder cannot be written to: its Python packages are unpacked there"
[ "$(uname -m)" = x86_64 ] || missing "packs are for x86-64, this is $(uname -m)"
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
[ "$(printf '2.36\n%s\n' "${libc:-0}" | sort -V | head -1)" = 2.36 ] || missing "needs a C library of 2.36 or newer (Debian 12, Ubuntu 24.04), this is ${libc:-another}"

# Everything of the pack comes first; the driver's own libraries stay where the machine has them.
root=$folder/root
lib=$root/usr/lib/x86_64-linux-gnu
site=$folder/venv/lib/python3.11/site-packages
export LD_LIBRARY_PATH="$lib:$root/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export GI_TYPELIB_PATH=$lib/girepository-1.0
export GST_PLUGIN_SYSTEM_PATH_1_0=$lib/gstreamer-1.0 GST_PLUGIN_SCANNER_1_0=$lib/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner
export GST_REGISTRY_1_0=$folder/registry.bin
export GST_CUDA_NVRTC_LIBNAME=$site/nvidia/cuda_nvrtc/lib/libnvrtc.so.12  # what 1.22's kernels can be compiled by
export GST_PLUGIN_FEATURE_RANK=nvh264dec:NONE,nvh264sldec:NONE            # a tower's picture comes raw: the processor decodes
export PIP_CONFIG_FILE=/dev/null PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=$here
unset PYTHONHOME

wanted="$(sha256sum "$folder/packed.json" | cut -c1-16) $folder"  # a venv does not survive a move
if [ "$(cat "$folder/venv/endoedge-packed" 2>/dev/null)" != "$wanted" ]; then
  echo "gpu_bench: unpacking Python packages (no network is used)" >&2
  rm -rf "$folder/venv"
  "$root/usr/bin/python3.11" -m venv --without-pip --system-site-packages "$folder/venv"
  pip=$(echo "$folder"/wheels/pip-*.whl)
  "$folder/venv/bin/python" "$pip/pip" install -q --isolated --no-index --find-links "$folder/wheels" -r "$folder/requirements.txt"
  echo "$wanted" >"$folder/venv/endoedge-packed"
fi
export LD_LIBRARY_PATH="$(printf '%s:' "$site"/nvidia/*/lib)$LD_LIBRARY_PATH"
if ! "$folder/venv/bin/python" -c 'import ctypes; ctypes.CDLL("libnvcuvid.so.1")' 2>/dev/null; then
  export LD_LIBRARY_PATH="$LD_LIBRARY_PATH:$folder/no-cuvid"
fi
rm -f "$GST_REGISTRY_1_0"  # it remembers which elements there were, and they come and go with the driver
# Listed once, here: plugins that nobody needs complain of libraries of their own.
"$folder/venv/bin/python" -c 'from edge.capture import gst; gst.init()' >/dev/null 2>&1 || true
exec "$folder/venv/bin/python" -m tools.gpu_bench --clip "$folder/clip.mkv" "$@"
