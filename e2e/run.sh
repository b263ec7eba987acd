#!/usr/bin/env bash
# Installs the operator by its chart on a real node with pods, and proves what its users rely on: no
# fetch of a policy fails and no id is announced early while the policy changes, pods are replaced or
# killed, the API server restarts, the release is upgraded; and that it can be taken away in any order.
#
#   e2e/run.sh              as root; all is gone afterwards, also after Ctrl-C
#   KEEP=1 e2e/run.sh       leaves it running, and says how to reach and end it
#   IMAGE=FILE e2e/run.sh   takes this archive in place of building one
#
# e2e/README.md says what runs where.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=e2e/parts.sh
. "$root/e2e/parts.sh"
domain=example.org
host=mta-sts.$domain
url=https://$host/.well-known/mta-sts.txt
system=mta-sts-system
release=mta-sts-operator
passed=0 failed=0

main() {
    trap 'finish $?' EXIT
    trap 'exit 130' INT TERM HUP
    prepare
    start_node
    start_dns
    start_ingress
    start_cert_manager
    step "helm install --wait, in a namespace that enforces restricted pods" install
    step "helm test: the installation is sound" sound
    step "a policy is published through the Ingress, with a certificate of cert-manager" publish
    step "changed to enforce under load: no fetch fails, no id is early" under_load enforce
    step "the operator's pods are replaced under load: no fetch fails" under_load roll
    step "a pod is killed under load: the policy goes on" under_load kill_pod 5
    step "the API server restarts under load: no fetch fails" under_load restart_api
    step "helm upgrade to a policy server of its own under load: no fetch fails" under_load upgrade
    step "the policy server's pods are replaced under load: no fetch fails" under_load roll_policy_server
    step "uninstalled chart first: definitions and policies stay, the namespaces go" chart_first
    step "uninstalled definitions first" definitions_first
    step "uninstalled namespace first: nothing hangs" namespace_first
    step "quickstart in a cluster that exists: asks, shows, takes all away" quickstart
    echo
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

install() {
    kubectl create namespace $system --dry-run=client -o yaml | kubectl apply -f - > /dev/null
    kubectl label --overwrite namespace $system pod-security.kubernetes.io/enforce=restricted > /dev/null
    kubectl -n $system create configmap e2e-ca --from-file "ca.crt=$state/tls/ca.crt" --dry-run=client -o yaml |
        kubectl apply -f - > /dev/null
    helm install $release "$root/charts/mta-sts-operator" -n $system --values "$state/values.yaml" --wait --timeout 120s "$@" > /dev/null
    kubectl apply -f "$state/provider.yaml" > /dev/null
}

sound() {
    kubectl wait --for=condition=Ready --timeout=60s clusterdnsprovider/e2e > /dev/null
    helm test $release -n $system --timeout 60s > "$state/log/helm-test.log" 2>&1 || { cat "$state/log/helm-test.log"; return 1; }
}

publish() {
    kubectl create namespace mail --dry-run=client -o yaml | kubectl apply -f - > /dev/null
    kubectl apply -f "$state/policy.yaml" > /dev/null
    kubectl wait --for=condition=Ready --timeout=120s -n mail mtasts/example-org > /dev/null
    [ "$(fetch %{http_code})" = 200 ]
    grep -q 'mode: testing' "$state/body"
    [ "$(announced)" = "$(served)" ]
}

enforce() {
    kubectl patch mtasts example-org -n mail --type merge -p '{"spec":{"mode":"enforce"}}' > /dev/null
    kubectl wait --for=jsonpath='{.status.policy.mode}'=enforce --timeout=120s -n mail mtasts/example-org > /dev/null
    kubectl wait --for=condition=Ready --timeout=120s -n mail mtasts/example-org > /dev/null
    fetch > /dev/null
    grep -q 'mode: enforce' "$state/body"
    [ "$(announced)" = "$(served)" ]
}

roll() { rolled deployment/$release; }
roll_policy_server() { rolled deployment/mta-sts-policy; }

rolled() {
    kubectl -n $system rollout restart "$1" > /dev/null
    kubectl -n $system rollout status "$1" --timeout=180s > /dev/null
}

# Killed without a word: a connection that it held may break. That is the front's to mend, so it is
# asked for the end and not for each fetch.
kill_pod() {
    local pod
    pod=$(kubectl -n $system get pods -l app.kubernetes.io/component=operator -o name | head -n 1)
    kubectl -n $system delete "$pod" --grace-period=0 --force > /dev/null 2>&1
    kubectl -n $system rollout status deployment/$release --timeout=180s > /dev/null
}

restart_api() {
    "$root/e2e/node/restart-api.sh" "$state/node"
    # The operator goes on where it was: a change is carried out.
    kubectl patch mtasts example-org -n mail --type merge -p '{"spec":{"maxAgeSeconds":700000}}' > /dev/null
    kubectl wait --for=jsonpath='{.status.policy.maxAgeSeconds}'=700000 --timeout=180s -n mail mtasts/example-org > /dev/null
}

upgrade() {
    helm upgrade $release "$root/charts/mta-sts-operator" -n $system --values "$state/values.yaml" \
        --set policyServer.mode=Deployment --wait --timeout 180s > /dev/null
    kubectl wait --for=condition=Ready --timeout=120s -n mail mtasts/example-org > /dev/null
}

chart_first() {
    helm uninstall $release -n $system --wait > /dev/null
    kubectl -n mail get mtasts example-org > /dev/null
    # Nobody is there to let go of it: the command does.
    "$mta_sts" uninstall --keep --yes -n $system > "$state/log/uninstall.log" 2>&1 || { cat "$state/log/uninstall.log"; return 1; }
    gone namespace mail
}

# What stays in DNS belongs to an installation that is gone with its namespace: a new one would not touch
# it. The person who took the old one away was told to remove it.
forget_in_dns() {
    printf 'server 10.99.0.1\ndelete _mta-sts.%s\ndelete %s\nsend\n' $domain $host | nsupdate -k "$state/dns/key"
}

definitions_first() {
    kubectl delete crd -l app.kubernetes.io/name=mta-sts-operator --ignore-not-found > /dev/null
    kubectl delete namespace $system --timeout=60s > /dev/null
    forget_in_dns
    install
    publish
    kubectl delete crd mtastspolicies.mta-sts.dev dnsproviders.mta-sts.dev clusterdnsproviders.mta-sts.dev --timeout=60s > /dev/null
    helm uninstall $release -n $system --wait > /dev/null
    gone namespace mail
    kubectl delete namespace $system --timeout=60s > /dev/null
}

namespace_first() {
    forget_in_dns
    install
    publish
    kubectl delete namespace $system --timeout=90s > /dev/null
    gone namespace mail
}

quickstart() {
    local log=$state/log/quickstart.log
    forget_in_dns
    kubectl delete crd -l app.kubernetes.io/name=mta-sts-operator --ignore-not-found --timeout=60s > /dev/null
    printf 'hosting: {ingress: {tls: {issuerRef: {name: e2e}}}}\n' > "$state/spec.yaml"
    cp "$state/values.yaml" "$state/by-hand.yaml"
    # Its namespace is made anew, without the ConfigMap of the CA.
    sed -i -e 's/dnsProvider: e2e, //' -e '/^privateCA/d' "$state/by-hand.yaml"
    in_cluster < /dev/null > "$log" 2>&1 && return 1   # nobody has agreed
    grep -q 'nothing was changed' "$log" || { cat "$log"; return 1; }
    [ -z "$(kubectl get namespace $system --ignore-not-found -o name)" ]
    YES=1 in_cluster > "$log" 2>&1 || { cat "$log"; return 1; }
    # Records are set by hand here, the address first.
    grep -q "^$host	A	10.99.0.1	Manual" "$log" || { cat "$log"; return 1; }
    [ -z "$(kubectl get crd mtastspolicies.mta-sts.dev --ignore-not-found -o name)" ]
    [ -z "$(kubectl get namespace $system mta-sts-quickstart --ignore-not-found -o name)" ]
}

in_cluster() {
    # The image stands in the values; IMAGE is here the archive that the node has loaded.
    IMAGE='' DOMAIN=$domain MX=mail.$domain VALUES=$state/by-hand.yaml POLICY=$state/spec.yaml "$root/tools/quickstart-cluster.sh"
}

# gone KIND NAME: it is deleted, and does not hang
gone() { kubectl delete "$1" "$2" --timeout=60s > /dev/null; }

# --- what is looked at ------------------------------------------------------------------------------

# fetch [FORMAT]: as a sender does, by the name, over verified TLS; the body is in $state/body
fetch() { curl -sS --max-time 5 --cacert "$state/tls/ca.crt" --resolve "$host:443:10.99.0.1" -o "$state/body" -w "${1:-}" "$url"; }
served() { curl -sSI --max-time 5 --cacert "$state/tls/ca.crt" --resolve "$host:443:10.99.0.1" "$url" | tr -d '\r' | sed -n 's/^etag: "\(.*\)"$/\1/Ip'; }
announced() { dig +short +tries=1 +time=2 TXT "_mta-sts.$domain" @10.99.0.1 | sed -n 's/.*id=\([0-9A-Za-z]*\).*/\1/p'; }

# under_load COMMAND [TOLERATED]: while four clients fetch without a pause. No more than TOLERATED fetches
# (none) may fail, and an id that was in
# DNS before a fetch may not be newer than the body that was fetched (ids grow with time).
under_load() {
    local client clients=() result tolerated=${2:-0} count failures early
    rm -f "$state"/load.*
    for client in 1 2 3 4; do load "$state/load.$client" & clients+=($!); done
    until_true 20 "the load has begun" test -s "$state/load.4"
    attempt "$1"
    sleep 1 # a few looks more at what came of it
    kill "${clients[@]}" 2> /dev/null; wait "${clients[@]}" 2> /dev/null || true
    count=$(cat "$state"/load.* | wc -l)
    failures=$(awk '$2 != 200' "$state"/load.* | wc -l)
    early=$(awk '$2 == 200 && $1 != "-" && $3 < $1' "$state"/load.* | wc -l)
    echo "  $count fetches, $failures failed, $early with an id that was announced early"
    [ "$failures" -le "$tolerated" ] || { awk '$2 != 200' "$state"/load.* | sort | uniq -c | head -n 5; result=1; }
    [ "$early" = 0 ] && [ "$count" -gt 20 ] || result=1
    return $result
}

# A line for each fetch: the id in DNS before it, the status, the id of the body.
load() {
    local id answer
    while :; do
        id=$(announced)
        answer=$(curl -sS --max-time 5 --cacert "$state/tls/ca.crt" --resolve "$host:443:10.99.0.1" -o /dev/null \
            -w '%{http_code} %header{etag} %{errormsg}' "$url" 2> /dev/null | tr -d '"') || true
        echo "${id:--} ${answer:-000}" >> "$1"
    done
}

main
