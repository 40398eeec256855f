#!/usr/bin/env bash
# Prints the path of a Chromium (CHROME, else what PATH has); installs Debian's where there is none
# and that is allowed. Exit code 2, and why, where there is no way.
set -euo pipefail
for name in "${CHROME:-}" chromium chromium-browser google-chrome google-chrome-stable; do
  if [ -n "$name" ] && command -v "$name"; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >&2
  command -v chromium
else
  echo "no Chromium here: install one (apt-get install chromium), or set CHROME to its binary" >&2
  exit 2
fi
