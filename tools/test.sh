#!/usr/bin/env bash
# Runs all tests, and ends with one line that sums them up: "N passed, N failed".
#
#   tools/test.sh              all of them, several test binaries at a time: they mostly wait
#   tools/test.sh ARGUMENT…    what `cargo test ARGUMENT…` runs
#
# JOBS=N: how many at a time; by default one a processor.
set -euo pipefail

cd "$(dirname "$0")/.."
# Those that take longest, so that none of them begins last.
longest='crash retirement dns_endpoint uninstall rbac outages tenants providers'

main() {
    logs=$(mktemp -d)
    trap 'rm -rf "$logs"' EXIT
    trap 'exit 130' INT TERM
    result=0
    echo '== tests'
    if [ $# -gt 0 ]; then
        cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$logs/all.log" || result=$?
    else
        all || result=$?
    fi
    [ "$result" = 0 ] || grep -q '^test result: FAILED' "$logs"/*.log || echo 'the tests could not be built, or a test process died: see above'
    # Each test binary prints one such line.
    cat "$logs"/*.log | awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed, failed }'
    exit "$result"
}

all() {
    cargo test --locked --no-run 2>&1 | tee "$logs/build" || return
    sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$logs/build" | longest_first > "$logs/binaries"
    xargs -P "${JOBS:-$(nproc)}" -n 1 "$0" --one "$logs" < "$logs/binaries" || true
    cargo test --locked --doc 2>&1 | tee "$logs/doc.log" || touch "$logs/failed"
    [ ! -e "$logs/failed" ]
}

# longest_first: the same lines, with the longest tests at the head
longest_first() {
    local line name
    while read -r line; do
        name=${line##*/}; name=${name%-*}
        [[ " $longest " == *" $name "* ]] && echo "0 $line" || echo "1 $line"
    done | sort -s -k 1,1 | cut -d' ' -f2-
}

# one LOGS BINARY: runs a test binary, and prints what it said when it is over
one() {
    local name start=$SECONDS log
    name=${2##*/}; name=${name%-*}
    log=$1/$name.log
    "$2" > "$log" 2>&1 || { touch "$1/failed"; echo "(the test binary $name failed)" >> "$log"; }
    flock "$1/binaries" sh -c 'printf "\n   %s (%s s)\n" "$1" "$2"; cat "$3"' sh "$name" $((SECONDS - start)) "$log"
}

case ${1:-} in
    --one) one "$2" "$3" ;;
    *) main "$@" ;;
esac
