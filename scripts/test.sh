#!/usr/bin/env bash
# Runs the given tests, all of them by default, on two processes that take work from each other.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/prometheus.sh

# What tests write lies in memory where there is room for it: a disk that is slow for a moment
# holds up every database of an install, and with it whoever waits for an answer.
memory=/dev/shm
room_kib=$(df --output=avail "$memory" 2>/dev/null | tail -1 || true)
if [ -z "${TMPDIR:-}" ] && [ -w "$memory" ] && [ "${room_kib:-0}" -gt $((8 << 20)) ]; then
  TMPDIR=$(mktemp -d "$memory/elodrome-tests-XXXXXX")
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
fi
.venv/bin/python -m pytest -n 2 --dist worksteal "$@"
