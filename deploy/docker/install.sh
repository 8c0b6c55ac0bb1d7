#!/bin/sh
# Installs what /opt/lock names into an environment that has no pip, each file checked against its hash, and compiles
# it. What nothing of ours imports stays outside: the libraries' own tests, ONNX Runtime's tools for converting models.
set -eu
environment="$1"
/opt/tools/bin/pip --python "$environment/bin/python" --quiet install \
  --no-deps --no-compile --no-warn-script-location --require-hashes --only-binary :all: -r /opt/lock
find "$environment/lib" -type d -name tests -prune -exec rm -rf {} +
for unused in transformers tools quantization datasets; do
  rm -rf "$environment"/lib/python3*/site-packages/onnxruntime/"$unused"
done
# Some libraries carry files that are no Python of this version; they are reported and stay as they are.
"$environment/bin/python" -m compileall -q -q -j 0 "$environment/lib" || true
