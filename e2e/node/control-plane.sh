#!/usr/bin/env bash
# Starts the programs of Kubernetes inside the node (e2e/node/up.sh).
#
#   control-plane.sh             all of them
#   control-plane.sh apiserver   the API server alone, after it was ended
set -euo pipefail

cd "$state"
pki=$state/pki

main() {
    case ${1:-all} in
        apiserver) apiserver ;;
        all)
            in_background etcd etcd --data-dir etcd --unsafe-no-fsync --heartbeat-interval 20 --election-timeout 100 \
                --log-level warn --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
                --listen-peer-urls http://127.0.0.1:2380
            apiserver
            until kubectl --kubeconfig kubeconfig get --raw /readyz > /dev/null 2>&1; do sleep 0.1; done
            in_background kubelet kubelet --config "$state/etc/kubelet.yaml" --kubeconfig "$pki/kubelet.conf" \
                --root-dir "$state/kubelet" --cert-dir "$state/kubelet/pki" --hostname-override node1 --node-ip 10.99.0.2
            controllers kube-controller-manager --service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" \
                --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
                --use-service-account-credentials --cluster-cidr 10.244.0.0/16
            controllers kube-scheduler
            in_background kube-proxy kube-proxy --config "$state/etc/kube-proxy.yaml"
            ;;
    esac
}

in_background() { local name=$1; shift; "$@" >> "log/$name.log" 2>&1 & }

controllers() {
    local name=$1; shift
    in_background "$name" "$name" --kubeconfig "$pki/$name.conf" --authentication-kubeconfig "$pki/$name.conf" \
        --authorization-kubeconfig "$pki/$name.conf" --leader-elect=false --kube-api-qps 500 --kube-api-burst 1000 \
        --cert-dir "$pki/$name" "$@"
}

apiserver() {
    in_background kube-apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 \
        --service-cluster-ip-range 10.96.0.0/16 --advertise-address 10.99.0.2 --secure-port 6443 --cert-dir "$pki/auto" \
        --tls-cert-file "$pki/api.crt" --tls-private-key-file "$pki/api.key" --client-ca-file "$pki/ca.crt" \
        --token-auth-file "$pki/tokens.csv" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
        --allow-privileged --service-account-issuer https://kubernetes.default.svc \
        --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
        --kubelet-preferred-address-types InternalIP --kubelet-client-certificate "$pki/api-kubelet.crt" \
        --kubelet-client-key "$pki/api-kubelet.key" --kubelet-certificate-authority "$pki/ca.crt" \
        --requestheader-client-ca-file "$pki/front-ca.crt" --requestheader-allowed-names front-proxy-client \
        --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
        --requestheader-extra-headers-prefix X-Remote-Extra- --proxy-client-cert-file "$pki/front.crt" \
        --proxy-client-key-file "$pki/front.key"
}

main "$@"
