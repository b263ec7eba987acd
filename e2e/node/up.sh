#!/usr/bin/env bash
# Brings up a cluster of one node with pods, in namespaces of its own, on this machine (as root).
#
#   e2e/node/up.sh FOLDER [IMAGE.tar…]   prints the kubeconfig as its last line
#   e2e/node/down.sh FOLDER              ends it
#
# This machine is 10.99.0.1 to the node, the node is 10.99.0.2; pods are in 10.244.0.0/24 and Services
# in 10.96.0.0/16, both routed from here. There is one node a machine at a time. All programs of the
# node live in one pid namespace, and end with it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tools=$here/../../tools
api=10.99.0.2

main() {
    state=$(mkdir -p "$1" && cd "$1" && pwd); shift
    ! ip link show e2e-node > /dev/null 2>&1 || die "another node is up (the link e2e-node is there): e2e/node/down.sh ends it"
    "$tools/debian-packages.sh" node
    PATH=$("$tools/k8s-assets.sh" | tail -n 1):$("$tools/k8s-assets.sh" node | tail -n 1):$PATH:/usr/sbin:/sbin
    export PATH state
    mkdir -p "$state"/{log,containerd,images,etc/cni,pki,kubelet}
    mkdir -m 700 -p "$state/etcd"
    cd "$state"
    certificates
    configurations
    images "$@"
    namespaces
    control_plane
    node
    cluster_dns
    echo "$state/kubeconfig"
}

# One CA for all; a certificate for each program that needs one, a token for the others.
certificates() {
    local user
    (cd pki
        authority ca
        authority front-ca
        local names="DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
        signed api ca /CN=kube-apiserver "subjectAltName=$names,IP:127.0.0.1,IP:10.96.0.1,IP:$api"
        signed api-kubelet ca /O=system:masters/CN=kube-apiserver-kubelet-client
        signed node ca /O=system:nodes/CN=system:node:node1 "subjectAltName=DNS:node1,IP:$api"
        signed front front-ca /CN=front-proxy-client
        openssl ecparam -name prime256v1 -genkey -noout -out sa.key
        openssl ec -in sa.key -pubout -out sa.pub
        for user in admin,system:masters system:kube-controller-manager, system:kube-scheduler, system:kube-proxy,system:node-proxier; do
            echo "$(openssl rand -hex 16),${user%,*},${user%,*},\"${user#*,}\""
        done > tokens.csv
        chmod 600 ./*.key tokens.csv) 2> log/openssl.log
    kubeconfig kubeconfig "token: $(token admin)"
    for user in kube-controller-manager kube-scheduler kube-proxy; do
        kubeconfig "pki/$user.conf" "token: $(token "system:$user")"
    done
    kubeconfig pki/kubelet.conf "client-certificate: $state/pki/node.crt, client-key: $state/pki/node.key"
}

authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -keyout "$1.key" -out "$1.crt" -subj "/CN=$1"; }

# signed NAME AUTHORITY SUBJECT [EXTENSION]
signed() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -subj "$3" |
        openssl x509 -req -days 30 -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -out "$1.crt" \
            -extfile <(printf '%s\nextendedKeyUsage=serverAuth,clientAuth\n' "${4:-}")
}

token() { sed -n "s/^\([^,]*\),$1,.*/\1/p" pki/tokens.csv; }

# kubeconfig FILE USER
kubeconfig() {
    (umask 077; cat > "$1" <<-YAML
		apiVersion: v1
		kind: Config
		clusters: [{name: e2e, cluster: {server: "https://$api:6443", certificate-authority-data: $(base64 -w0 pki/ca.crt)}}]
		users: [{name: user, user: {$2}}]
		contexts: [{name: e2e, context: {cluster: e2e, user: user}}]
		current-context: e2e
	YAML
    )
}

configurations() {
    : > etc/resolv.conf
    sed "s|@STATE@|$state|g" "$here/containerd.toml" > etc/containerd.toml
    sed "s|@STATE@|$state|g" "$here/kubelet.yaml" > etc/kubelet.yaml
    sed "s|@STATE@|$state|g" "$here/kube-proxy.yaml" > etc/kube-proxy.yaml
    cp "$here/cni.conflist" etc/cni/10-node.conflist
}

# The images that the node has: it pulls none.
images() {
    python3 "$tools/image/pack.py" images/pause.tar node.local/pause:1 --add /bin/busybox:/busybox:755 \
        --entrypoint '["/busybox", "sleep", "infinity"]' --user 65535:65535
    python3 "$tools/image/pack.py" images/coredns.tar node.local/coredns:1 --add "$(command -v coredns):/coredns:755" \
        --entrypoint '["/coredns"]' --user 65532:65532
    local image
    for image in "$@"; do cp "$image" images/; done
}

namespaces() {
    setsid unshare --mount --propagation private --net --pid --fork --kill-child --uts --ipc \
        "$here/init.sh" > log/init.log 2>&1 < /dev/null &
    local unshared=$!
    until_true "the namespaces are there" test -e containerd.started
    tr ' ' '\n' < "/proc/$unshared/task/$unshared/children" | head -n 1 > pid
    ip link add e2e-node type veth peer name eth0 netns "/proc/$(cat pid)/ns/net"
    ip addr add 10.99.0.1/24 dev e2e-node
    ip link set e2e-node up
    nsenter -t "$(cat pid)" -n sh -c "ip link set lo up; ip addr add $api/24 dev eth0; ip link set eth0 up; ip route add default via 10.99.0.1"
    ip route add 10.244.0.0/24 via "$api"
    ip route add 10.96.0.0/16 via "$api"
}

inside() { nsenter -t "$(cat "$state/pid")" -m -n -p -u -i "$@"; }

control_plane() {
    inside setsid "$here/control-plane.sh" > log/control-plane.log 2>&1 < /dev/null
    until_true "the API server is ready" kubectl --kubeconfig kubeconfig get --raw /readyz
    say "the API server is ready"
}

node() {
    local image
    until_true "containerd answers" test -S containerd/containerd.sock
    for image in images/*.tar; do
        inside ctr -a "$state/containerd/containerd.sock" -n k8s.io images import "$state/$image" > /dev/null
    done
    until_true "the node is known" kubectl --kubeconfig kubeconfig get node node1
    kubectl --kubeconfig kubeconfig wait --for=condition=Ready node/node1 --timeout=60s > /dev/null
    say "the node is ready"
}

cluster_dns() {
    kubectl --kubeconfig kubeconfig apply -f "$here/coredns.yaml" > /dev/null
    kubectl --kubeconfig kubeconfig -n kube-system rollout status deployment/coredns --timeout=60s > /dev/null
    say "the cluster's DNS is ready"
}

# until_true WHAT COMMAND…
until_true() {
    local what=$1 _; shift
    for _ in {1..600}; do ! "$@" > /dev/null 2>&1 || return 0; sleep 0.1; done
    die "waited a minute until $what; the logs are in $state/log"
}

say() { echo "node: [$SECONDS s] $*" >&2; }
die() { echo "node: $*" >&2; exit 1; }

[ $# != 0 ] || die "usage: $0 FOLDER [IMAGE.tar…]"
main "$@"
