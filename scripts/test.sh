#!/usr/bin/env bash
# Runs the given tests, all of them by default, on two processes that take work from each other.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/prometheus.sh
exec .venv/bin/python -m pytest -n 2 --dist worksteal "$@"
