#!/bin/sh
# Installs the peers that the bench compares with, into an environment of their own (.venv-peers), wheels only.
#
#     bench/meter/peers.sh [FOLDER]
#
# The benches skip a peer that is not there and say so.
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-.venv-peers}
python=.venv/bin/python
test -x "$python" || { echo "$python is not there; run: make install-dev" >&2; exit 1; }
test -x "$folder/bin/python" || "$python" -m venv --without-pip "$folder"
.venv/bin/uv pip install --quiet --python "$folder/bin/python" --only-binary :all: \
    "zeus==0.16.0" "codecarbon==3.3.2" "nvidia-ml-py==$(sed -n 's/^nvidia-ml-py==\([^ ]*\).*/\1/p' requirements.txt constraints.txt | head -1)"
"$folder/bin/python" -c 'import codecarbon, zeus; from importlib.metadata import version
print("peers in place: zeus", version("zeus") + ", codecarbon", version("codecarbon"))'
