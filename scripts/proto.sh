#!/usr/bin/env bash
# Generates gen/ from protos/: Python modules with stubs, and the descriptor set with comments.
# With --check it changes nothing and fails when gen/ differs.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
mkdir -p .build
exec 9>.build/proto.lock
flock 9

# google/api comes from the same wheel that the services import, so both sides agree.
googleapis=.build/googleapis
wheel=$($python -c 'import google.api, pathlib; print(pathlib.Path(list(google.api.__path__)[0]).parent)')
mkdir -p "$googleapis/google/api"
cp "$wheel"/api/annotations.proto "$wheel"/api/http.proto "$googleapis/google/api/"

fresh=$(mktemp -d .build/gen.XXXXXX)
trap 'rm -rf "$fresh"' EXIT
$python -m grpc_tools.protoc -Iprotos -I"$googleapis" \
  --python_out="$fresh" --pyi_out="$fresh" --grpc_python_out="$fresh" \
  $(find protos -name '*.proto' | sort)
# A file without a service leaves an empty stub module.
for stub in $(find "$fresh" -name '*_pb2_grpc.py'); do
  grep -q '^class ' "$stub" || rm "$stub"
done
.venv/bin/buf build -o "$fresh/elodrome.binpb"

if [ "${1:-}" = --check ]; then
  diff -rq -x __pycache__ gen "$fresh" || { echo 'gen/ differs from protos/: run make proto' >&2; exit 1; }
else
  (cd gen 2>/dev/null && find . -type f ! -path '*/__pycache__/*') | while read -r file; do
    [ -e "$fresh/$file" ] || rm "gen/$file"
  done
  cp -r "$fresh/." gen/
fi
