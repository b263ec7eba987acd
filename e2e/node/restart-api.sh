#!/usr/bin/env bash
# Ends the API server of a node and starts it again: `e2e/node/restart-api.sh FOLDER`.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
state=$(cd "$1" && pwd)
export state
PATH=$("$here/../../tools/k8s-assets.sh" | tail -n 1):$PATH
inside() { nsenter -t "$(cat "$state/pid")" -m -n -p -u -i "$@"; }
inside pkill -KILL -x kube-apiserver
sleep 2 # long enough for watches to break and for leases to be missed
inside setsid "$here/control-plane.sh" apiserver > "$state/log/restart.log" 2>&1 < /dev/null
for _ in {1..600}; do
    ! kubectl --kubeconfig "$state/kubeconfig" get --raw /readyz > /dev/null 2>&1 || exit 0
    sleep 0.1
done
echo "the API server did not come back; see $state/log/kube-apiserver.log" >&2
exit 1
