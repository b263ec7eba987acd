#!/usr/bin/env bash
# Installs the operator in a cluster that exists and publishes the policy of one domain there, in mode
# testing, which stops no mail; shows each step, and takes all away again. It asks before anything.
#
#   make quickstart KUBECONFIG=FILE DOMAIN=example.org IMAGE=registry.example.org/mta-sts-operator:0.1.0
#
#   MX="mail.example.org …"   the hosts that take its mail; by default those in DNS
#   VALUES=FILE               more values for the chart: issuers, classes, a DNS provider
#   POLICY=FILE               fields of spec, in YAML, in place of the defaults
#   YES=1                     the answer to all questions
#   WAIT=180s                 how long the pods may take to get ready
#   KEEP=1                    leaves it running, and says how to take it away
#
# It needs kubectl and helm, and the image where the nodes find it (docs/image.md).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
release=mta-sts-operator
system=mta-sts-system
mail=mta-sts-quickstart

main() {
    need
    plan
    agree "Go on?" || { say "nothing was changed"; exit 1; }
    trap 'finish $?' EXIT
    trap 'exit 130' INT TERM HUP
    install
    publish
    look
}

need() {
    local program
    for program in kubectl helm; do
        command -v $program > /dev/null || die "$program is missing"
    done
    [ -n "${DOMAIN:-}" ] || die "say which domain: make quickstart KUBECONFIG=… DOMAIN=example.org IMAGE=…"
    [ -n "${IMAGE:-}${VALUES:-}" ] || die "say where the nodes find the image: IMAGE=registry.example.org/mta-sts-operator:0.1.0 (docs/image.md says how it is made), or set it in VALUES=FILE"
    kubectl version -o json > /dev/null 2>&1 || die "the cluster of KUBECONFIG=${KUBECONFIG:-} does not answer"
    [ -n "${MX:-}" ] || MX=$(dig +short MX "$DOMAIN" 2> /dev/null | awk '{ sub(/\.$/, "", $2); print $2 }') || true
    [ -n "$MX" ] || die "no MX was found for $DOMAIN: say which hosts take its mail, MX=\"mail.$DOMAIN\""
    local there
    there=$(kubectl get crd mtastspolicies.mta-sts.dev --ignore-not-found -o name)
    [ -z "$there" ] || die "the definitions of the operator are in this cluster already: apply a MtaStsPolicy instead, this would take away what is there"
    for there in $system $mail; do
        [ -z "$(kubectl get namespace $there --ignore-not-found -o name)" ] || die "there is a namespace $there already: nothing is mixed with what others have made"
    done
}

plan() {
    phase "What will be done"
    say "cluster     $(kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}') (context $(kubectl config current-context))"
    say "installed   the chart, with its definitions, in the namespace $system"
    say "published   the policy of $DOMAIN with the MX ${MX//$'\n'/ }, in mode testing, from the namespace $mail"
    say "afterwards  all of it is taken away again, unless KEEP=1"
}

install() {
    phase "Install the chart"
    local values=()
    if [ -n "${IMAGE:-}" ]; then
        local name=${IMAGE#*/}
        values=(--set-string "image.registry=${IMAGE%%/*}")
        case $name in
            *@*) values+=(--set-string "image.repository=${name%@*}" --set-string "image.digest=${name#*@}") ;;
            *) values+=(--set-string "image.repository=${name%:*}" --set-string "image.tag=${name##*:}") ;;
        esac
    fi
    [ -z "${VALUES:-}" ] || values+=(--values "$VALUES")
    begun=1
    show helm install $release "$root/charts/mta-sts-operator" -n $system --create-namespace --wait --timeout "${WAIT:-180s}" "${values[@]}"
    show helm test $release -n $system --timeout 60s
}

publish() {
    phase "Publish the policy of $DOMAIN"
    kubectl create namespace $mail > /dev/null
    {
        printf 'apiVersion: mta-sts.dev/v1alpha1\nkind: MtaStsPolicy\nmetadata: {name: quickstart, namespace: %s}\nspec:\n  domain: %s\n  mode: testing\n  deletionPolicy: Immediate\n  mx:\n' $mail "$DOMAIN"
        printf '  - "%s"\n' $MX
        [ -z "${POLICY:-}" ] || sed 's/^/  /' "$POLICY"
    } > "$policy"
    show cat "$policy"
    show kubectl apply -f "$policy"
}

# It is Ready; or the records are to be set by hand, and it says which.
look() {
    local reason= try
    phase "Wait until it is published, or until it is said what is missing"
    for try in $(seq 60); do
        reason=$(kubectl get mtasts quickstart -n $mail -o 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}')
        case $reason in Published | ManualActionNeeded) break ;; esac
        # A provider would have written the address by now.
        [ "$reason" != HostUnresolved ] || [ "$try" -lt 10 ] || break
        sleep 2
    done
    show kubectl get mtasts -n $mail
    show kubectl get mtasts quickstart -n $mail -o 'jsonpath={range .status.conditions[*]}{.type}{"\t"}{.status}{"\t"}{.reason}{"\t"}{.message}{"\n"}{end}'
    show kubectl get mtasts quickstart -n $mail -o 'jsonpath={range .status.dns.records[*]}{.name}{"\t"}{.type}{"\t"}{.value}{"\t"}{.state}{"\n"}{end}'
    case $reason in
        Published) say "$DOMAIN is published: senders that look it up from now on report what they see" ;;
        ManualActionNeeded) say "no DNS provider is set: the records above are to be set by hand, in this order; then it gets Ready by itself" ;;
        HostUnresolved) say "the policy host has no address: set the record above by hand, where no DNS provider does it; then it goes on by itself, and says the TXT record last" ;;
        *) say "it is not published yet: the first condition above that is not True says why, and what to do" ;;
    esac
}

finish() {
    trap - EXIT
    rm -f "$policy"
    [ -n "$begun" ] || exit "$1"
    if [ -n "${KEEP:-}" ]; then
        phase "It goes on running"
        say "look at it    kubectl describe mtasts -n $mail quickstart"
        say "take it away  kubectl delete namespace $mail; helm uninstall $release -n $system; kubectl delete crd -l app.kubernetes.io/name=$release; kubectl delete namespace $system"
        exit "$1"
    fi
    phase "Take all away again"
    # The policy first: while the controller is there it takes its records away and lets the object go.
    if kubectl get namespace $mail > /dev/null 2>&1; then
        show kubectl delete namespace $mail --timeout=120s || true
    fi
    show helm uninstall $release -n $system --wait --ignore-not-found || true
    # The definitions stay with the chart: here nobody else has any.
    show kubectl delete crd mtastspolicies.mta-sts.dev dnsproviders.mta-sts.dev clusterdnsproviders.mta-sts.dev --ignore-not-found --timeout=60s || true
    show kubectl delete namespace $system --ignore-not-found --timeout=60s || true
    exit "$1"
}

agree() {
    local answer
    [ -z "${YES:-}" ] || return 0
    printf '\n%s [y/N] ' "$1"
    read -r answer || return 1
    [[ $answer =~ ^[yY] ]]
}

phase() { printf '\n== %s\n' "$1"; }
say() { printf '    %s\n' "$1"; }
show() {
    printf '\n$ %s\n' "$*"
    "$@"
}
die() { echo "quickstart: $*" >&2; exit 1; }

begun=
policy=$(mktemp "${TMPDIR:-/tmp}/mta-sts-quickstart.XXXXXX")
main
