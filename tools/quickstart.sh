#!/usr/bin/env bash
# Publishes the MTA-STS policy of one domain on real parts, on this machine, and shows each step:
# a Kubernetes API server, BIND, an nginx with TLS, the policy server and the controller.
#
#   tools/quickstart.sh                  runs it; all is gone afterwards, also after Ctrl-C
#   KEEP=1 tools/quickstart.sh           leaves it running, and says how to reach and stop it
#   tools/quickstart.sh stop FOLDER      stops what KEEP=1 left running
#
# Everything listens on 127.0.0.1 on free ports and lives in one folder below ${TMPDIR:-/tmp}.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
domain=quickstart.example
host=mta-sts.$domain
# shellcheck source=tools/quickstart-parts.sh
. "$root/tools/quickstart-parts.sh"

main() {
    trap 'finish $?' EXIT
    trap 'exit 130' INT TERM HUP
    prepare
    start_kubernetes
    start_dns
    start_front
    start_operator
    publish
    enforce
    delete
    summary
}

publish() {
    phase "Say who may write DNS, and publish the policy of $domain"
    blame=controller
    show kubectl apply -f examples/quickstart/provider.yaml
    show kubectl wait --for=condition=Ready --timeout=60s clusterdnsprovider/quickstart
    show cat examples/quickstart/policy.yaml
    show kubectl apply -f examples/quickstart/policy.yaml
    show kubectl wait --for=condition=Ready --timeout=120s -n mail mtasts/quickstart
    phase "Look at it as anybody would: in Kubernetes, in DNS, over HTTPS"
    show kubectl get mtasts -n mail
    show kubectl get mtasts quickstart -n mail -o 'jsonpath={range .status.conditions[*]}{.type}{"\t"}{.status}{"\t"}{.reason}{"\n"}{end}'
    show kubectl get events -n mail
    show dig +short TXT _mta-sts.$domain @127.0.0.1 -p "$dns_port"
    show curl -sS "${curl_front[@]}" "https://$host/.well-known/mta-sts.txt"
}

enforce() {
    phase "Change the policy to enforce, and watch DNS and HTTPS meanwhile"
    watch_both > "$state/watch" 2> /dev/null &
    watcher=$!
    until_true 20 "the watcher sees something" test -s "$state/watch"
    show kubectl patch mtasts quickstart -n mail --type=merge -p '{"spec":{"mode":"enforce"}}'
    show kubectl wait --for=jsonpath='{.status.policy.mode}'=enforce --timeout=120s -n mail mtasts/quickstart
    show kubectl wait --for=condition=Ready --timeout=120s -n mail mtasts/quickstart
    until_true 20 "the new id is out" same_id
    sleep 0.5 # one more look of the watcher
    kill "$watcher"; wait "$watcher" 2> /dev/null || true; watcher=
    show kubectl get mtasts -n mail
    show curl -sS "${curl_front[@]}" "https://$host/.well-known/mta-sts.txt"
    say "what an observer saw, a line for each change:"
    awk '{ if ($2 FS $3 != last) printf "    %s   HTTPS serves %s   DNS announces %s\n", $1, $2, $3; last = $2 FS $3 }' "$state/watch"
    local old; old=$(awk 'NR == 1 { print $2 }' "$state/watch")
    if awk -v old="$old" '$2 == old && $3 != old { early = 1 } END { exit !early }' "$state/watch"; then
        die "DNS announced the new id while the old body was served"
    fi
    say "the new body was out before the id that announces it: no sender can fetch an old body for a new id"
}

# A line for each look: the time, the id of the body that is served (its ETag), the id in DNS. DNS is
# asked first: if it has the new id, a body that is fetched afterwards must be the new one.
watch_both() {
    local dns https
    while sleep 0.05; do
        dns=$(txt | sed -n 's/.*id=\([0-9A-Za-z]*\).*/\1/p')
        https=$(curl -sSI "${curl_front[@]}" "https://$host/.well-known/mta-sts.txt" | tr -d '\r' | sed -n 's/^etag: "\(.*\)"$/\1/Ip')
        echo "$(date +%T.%3N) ${https:--} ${dns:--}"
    done
}

same_id() { tail -n 1 "$state/watch" | awk -v old="$(awk 'NR == 1 { print $2 }' "$state/watch")" '{ exit !($2 == $3 && $2 != old) }'; }

delete() {
    phase "Delete the policy"
    show kubectl delete mtasts quickstart -n mail --timeout=60s
    until_true 60 "mode none is published" none_is_out
    show curl -sS "${curl_front[@]}" "https://$host/.well-known/mta-sts.txt"
    show dig +short TXT _mta-sts.$domain @127.0.0.1 -p "$dns_port"
    show "$mta_sts" retirements
    say "senders may hold the policy with mode enforce for a week: until then nothing is taken away (RFC 8461 §8.3)"
}

summary() {
    phase "Done"
    if [ "${KEEP:-}" = 1 ]; then
        cat <<-TEXT
			  All of it is still running. To reach it:
			    export KUBECONFIG=$KUBECONFIG
			    cd $state && kubectl apply -f examples/quickstart/policy.yaml
			    dig +short TXT _mta-sts.$domain @127.0.0.1 -p $dns_port
			    curl ${curl_front[*]} https://$host/.well-known/mta-sts.txt
			    tail -f $state/log/controller.log
			  To stop it:
			    $root/tools/quickstart.sh stop $state
		TEXT
    fi
    cat <<-TEXT
		  What to try next:
		    KEEP=1 make quickstart                 leave all of this running, and play with it
		    kubectl explain mtasts.spec            every field, with what it does
		    ${mta_sts#"$root"/} lint FILE         check a policy, a TXT record or a manifest of yours
		    examples/quickstart/                   what was applied here
		    make test                              the same parts, and many ways to break them
	TEXT
}

case ${1:-} in
    '') main ;;
    stop) [ -n "${2:-}" ] || die "usage: $0 stop FOLDER"; stop "$(cd "$2" && pwd)" ;;
    *) die "usage: $0 [stop FOLDER]" ;;
esac
