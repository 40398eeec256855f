#!/usr/bin/env bash
# The web app's tests: its core on the shared vectors, then the app in a real Chromium beside
# Python's answers. Run by `make test-apps`, which builds the app and gives PYTHON and
# MOBILEMOD_DATA. What they compare with is made once, in build/web-tests.
set -euo pipefail
cd "$(dirname "$0")"
ROOT="$(cd ../.. && pwd)"
PYTHON="${PYTHON:-$ROOT/.venv/bin/python}"
OUT="${MOBILEMOD_WEB_TESTS:-$ROOT/build/web-tests}"

npm test --silent

if [ -z "${MOBILEMOD_DATA:-}" ]; then
  echo "MOBILEMOD_DATA is not set: the browser tests need the images ('make data'); left out" >&2
  exit 0
fi
export CHROME="${CHROME:-$(./chromium.sh)}"
(
  cd "$ROOT"
  PYTHONPATH="$ROOT" "$PYTHON" apps/web/tests/e2e/fixtures.py "$OUT" --data "$MOBILEMOD_DATA"
)
export MOBILEMOD_WEB_TESTS="$OUT" PYTHON
npm run e2e --silent
