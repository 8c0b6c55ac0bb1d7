#!/bin/sh
# Installs /opt/lock into an environment without pip, checks every hash, and compiles the packages. Removes files that
# preptime doesn't import: the libraries' tests, and ONNX Runtime's conversion tools.
set -eu
environment="$1"
/opt/tools/bin/pip --python "$environment/bin/python" --quiet --timeout 120 install \
  --no-deps --no-compile --no-warn-script-location --require-hashes --only-binary :all: -r /opt/lock
find "$environment/lib" -type d -name tests -prune -exec rm -rf {} +
for unused in transformers tools quantization datasets; do
  rm -rf "$environment"/lib/python3*/site-packages/onnxruntime/"$unused"
done
# Some libraries contain files for other Python versions, which don't compile.
"$environment/bin/python" -m compileall -q -q -j 0 "$environment/lib" || true
