#!/usr/bin/env bash
# Everything of apps/ios that can be checked without Xcode. Needs Python with this project installed
# (PYTHON), npm, and a Swift compiler, which is fetched on Linux with apt (540 MB, into .swift).
set -euo pipefail
cd "$(dirname "$0")"
python="${PYTHON:-../../.venv/bin/python}"
command -v npm >/dev/null || { echo "error: npm is missing; install Node.js" >&2; exit 2; }

mkdir -p .check/npm
if ! cmp -s check/package-lock.json .check/npm/.installed; then
  cp check/package.json check/package-lock.json .check/npm/
  (cd .check/npm && npm ci --ignore-scripts --no-audit --no-fund --silent)
  cp check/package-lock.json .check/npm/.installed
fi
if ! cmp -s check/requirements.txt .check/pip/.installed; then
  rm -rf .check/pip
  "$python" -m pip install --quiet --disable-pip-version-check --target .check/pip \
    -r check/requirements.txt
  cp check/requirements.txt .check/pip/.installed
fi
export PYTHONPATH="$PWD/.check/pip:$PWD/check:${PYTHONPATH:-}"

"$python" check/toolchain.py
"$python" check/project.py
"$python" check/declarations.py
"$python" check/symbols.py
"$python" check/core.py
"$python" check/app.py
"$python" -m pytest -q -p no:cacheprovider --rootdir check check/test_checks.py
