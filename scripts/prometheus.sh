#!/usr/bin/env bash
# Unpacks Debian's Prometheus for the tests of alert rules and dashboards. Installed, the package
# would start a server of its own. Machines without apt-get skip those tests.
set -euo pipefail
cd "$(dirname "$0")/.."

unpacked=.build/prometheus
if command -v promtool >/dev/null || [ -x "$unpacked/usr/bin/promtool" ] || ! command -v apt-get >/dev/null; then
  exit 0
fi
mkdir -p "$unpacked"
[ "$(id -u)" != 0 ] || apt-get update -qq
# apt downloads as a user of its own, who may not enter every directory: it says so, and goes on.
(cd "$unpacked" && apt-get download -qq prometheus 2>apt.log && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) || {
  cat "$unpacked/apt.log" >&2
  echo 'Prometheus could not be fetched; the tests that need it will say so' >&2
}
