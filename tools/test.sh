#!/usr/bin/env bash
# Runs all tests, and ends with one line that sums them up: "N passed, N failed".
set -euo pipefail

cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

echo '== tests'
result=0
cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log" || result=$?

[ "$result" = 0 ] || grep -q '^test result: FAILED' "$log" || echo 'the tests could not be built, or a test process died: see above'
# cargo gives one such line for each test binary.
awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed, failed }' "$log"
exit "$result"
