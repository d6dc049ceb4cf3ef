#!/usr/bin/env bash
# Makes .venv with the locked versions. Needs only Python 3.11 or later with venv.
set -euo pipefail
cd "$(dirname "$0")/.."

suits() { command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

python=
for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
  if suits "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  found=$(python3 --version 2>/dev/null || echo 'no Python')
  echo "Elodrome needs Python 3.11 or later; found $found. Name one: make venv PYTHON=/path/to/python3.11" >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "$python comes without venv. On Debian and Ubuntu: apt-get install python3-venv" >&2
  exit 1
fi

# Two makes at once install one after the other.
mkdir -p .build
exec 9>.build/venv.lock
flock 9
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt)
echo 'installing PyTorch (a few minutes the first time)'
# Torch comes first and alone: whatever depends on it then takes this build and no other.
"${pip[@]}" torch==2.13.0
echo 'installing everything else'
"${pip[@]}" --editable '.[dev]' --editable ./sdk
