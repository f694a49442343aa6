#!/usr/bin/env bash
# A llama-server to try the wording of reports with: built from the source that the package llama_cpp_python brings.
# It takes about ten minutes on two cores; what is there already is not built again.
#
#   tools/llama_server.sh [DIR]        # default: ~/.cache/endoedge/llama
#   python -m tools.tiny_vlm --llama DIR
#
# Needs cmake, ninja, a C++ compiler and pip. PYTHON says which python3 it asks.
set -euo pipefail

VERSION=0.3.36
DIR=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/endoedge/llama}
PYTHON=${PYTHON:-python3}
SOURCE="$DIR/llama_cpp_python-$VERSION/vendor/llama.cpp"

for program in cmake ninja c++ tar "$PYTHON"; do
    command -v "$program" > /dev/null || { echo "llama_server: $program is not here" >&2; exit 2; }
done
mkdir -p "$DIR"
if [ ! -d "$SOURCE" ]; then
    # pip builds what describes the package before it gives the file away: that is half of the time
    "$PYTHON" -m pip download --quiet --no-deps --no-binary :all: --dest "$DIR" "llama_cpp_python==$VERSION"
    tar -xzf "$DIR/llama_cpp_python-$VERSION.tar.gz" -C "$DIR"
fi
cmake -S "$SOURCE" -B "$DIR/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF > "$DIR/cmake.log"
cmake --build "$DIR/build" --target llama-server
ln -sfn "$SOURCE" "$DIR/llama.cpp"
echo "$DIR/build/bin/llama-server"
