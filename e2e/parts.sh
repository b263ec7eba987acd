# What e2e/run.sh runs on: the parts, how each is started, and how all are stopped. To be sourced.

prepare() {
    phase "Get the parts: Debian packages, Kubernetes, Contour, cert-manager, the image"
    [ "$(id -u)" = 0 ] || die "a node needs root: sudo make e2e"
    "$root/tools/debian-packages.sh" node
    contour=$("$root/tools/contour.sh" | tail -n 1)
    cert_manager=$("$root/tools/k8s-assets.sh" cert-manager | tail -n 1)
    PATH=$PATH:/usr/sbin:/sbin:$("$root/tools/k8s-assets.sh" | tail -n 1):$("$root/tools/k8s-assets.sh" node | tail -n 1)
    (cd "$root" && cargo build --locked --bin mta-sts)
    mta_sts=$(cd "$root" && cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/mta-sts
    if [ -z "${IMAGE:-}" ]; then
        IMAGE=$root/target/image/mta-sts-operator.oci.tar
        "$root/tools/image.sh" "$IMAGE"
    fi
    state=$(mktemp -d "${TMPDIR:-/tmp}/mta-sts-e2e.XXXXXX")
    mkdir "$state"/{log,pid,tls,dns}
    (cd "$state/tls" && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
        -keyout ca.key -out ca.crt -subj "/CN=e2e CA" 2> "$state/log/openssl.log")
    say "all files of this run are in $state"
}

start_node() {
    phase "Start a node with pods"
    "$root/e2e/node/up.sh" "$state/node" "$IMAGE" > "$state/log/node.log"
    export KUBECONFIG=$state/node/kubeconfig
}

# The root, and the domain that the root delegates: the operator finds its way from the one to the other.
start_dns() {
    phase "Start BIND: a root of its own, and $domain"
    local secret
    secret=$(openssl rand -base64 32)
    printf '$TTL 30\n@ SOA ns hostmaster 1 3600 600 86400 30\n@ NS ns\nns A 10.99.0.1\n%s. NS ns.%s.\nns.%s. A 10.99.0.1\n' \
        $domain $domain $domain > "$state/dns/root.zone"
    printf '$TTL 30\n@ SOA ns hostmaster 1 3600 600 86400 30\n@ NS ns\n@ MX 10 mail\nns A 10.99.0.1\nmail A 192.0.2.25\n' \
        > "$state/dns/$domain.zone"
    cat > "$state/dns/named.conf" <<-CONF
		options {
		    directory "$state";
		    pid-file none;
		    lock-file none;
		    session-keyfile "dns/session.key";
		    listen-on port 53 { 10.99.0.1; };
		    listen-on-v6 { none; };
		    recursion no;
		    dnssec-validation no;
		    notify no;
		};
		controls { };
		key e2e { algorithm hmac-sha256; secret "$secret"; };
		zone "." { type primary; file "dns/root.zone"; };
		zone $domain { type primary; file "dns/$domain.zone"; update-policy { grant e2e zonesub ANY; }; };
	CONF
    start named named -g -n 1 -c "$state/dns/named.conf"
    until_true 20 "BIND answers" answers MX
    printf 'key e2e { algorithm hmac-sha256; secret "%s"; };\n' "$secret" > "$state/dns/key"
    manifests "$secret"
}

# What dig says of a connection that was refused goes to the same place, behind a semicolon.
answers() { dig +short +tries=1 +time=1 $domain "$1" @10.99.0.1 | grep -q '^[^;]'; }

# What a user applies and sets: a provider, a policy, the values of the chart.
manifests() {
    cat > "$state/provider.yaml" <<-YAML
		apiVersion: v1
		kind: Secret
		metadata: {name: tsig, namespace: $system, labels: {mta-sts.dev/credentials: "true"}}
		stringData: {key: "$1"}
		---
		apiVersion: mta-sts.dev/v1alpha1
		kind: ClusterDnsProvider
		metadata: {name: e2e}
		spec:
		  zones: ["*"]
		  allowedNamespaces: {}
		  rfc2136:
		    server: 10.99.0.1:53
		    tsig: {keyName: e2e, algorithm: hmac-sha256, secretRef: {name: tsig, key: key}}
	YAML
    cat > "$state/policy.yaml" <<-YAML
		apiVersion: mta-sts.dev/v1alpha1
		kind: MtaStsPolicy
		metadata: {name: example-org, namespace: mail}
		spec:
		  domain: $domain
		  mx: [mail.$domain]
		  hosting: {ingress: {tls: {issuerRef: {name: e2e}}}}
	YAML
    cat > "$state/values.yaml" <<-YAML
		defaults: {dnsProvider: e2e, ingressClass: contour}
		allowed: {issuers: [ClusterIssuer/e2e], targets: [10.99.0.0/24]}
		settings: {dnsRoots: [10.99.0.1], resolvers: [10.99.0.1]}
		privateCA: {configMap: e2e-ca}
	YAML
}

start_ingress() {
    phase "Start Contour and Envoy: the Ingress controller"
    kubectl apply --server-side -f "$contour/contour-crds.yaml" > /dev/null
    kubectl apply -f - > /dev/null <<-YAML
		apiVersion: networking.k8s.io/v1
		kind: IngressClass
		metadata: {name: contour}
		spec: {controller: projectcontour.io/ingress-controller}
	YAML
    printf 'network: {admin-port: 8004}\n' > "$state/contour.yaml"
    CONTOUR_NAMESPACE=projectcontour start contour "$contour/contour" serve --kubeconfig "$KUBECONFIG" \
        --config-path "$state/contour.yaml" --insecure --xds-address 127.0.0.1 --xds-port 8001 \
        --http-address 127.0.0.1 --http-port 8000 --health-address 127.0.0.1 --health-port 8000 \
        --debug-http-address 127.0.0.1 --debug-http-port 8003 --stats-address 127.0.0.1 --stats-port 8002 \
        --envoy-service-http-address 10.99.0.1 --envoy-service-http-port 80 \
        --envoy-service-https-address 10.99.0.1 --envoy-service-https-port 443 \
        --ingress-class-name contour --ingress-status-address 10.99.0.1 --disable-leader-election \
        --envoy-http-access-log /dev/null --envoy-https-access-log "$state/log/access.log" \
        --disable-feature=extensionservices --disable-feature=tlsroutes --disable-feature=tcproutes \
        --disable-feature=backendtlspolicies
    "$contour/contour" bootstrap "$state/envoy.json" --xds-address 127.0.0.1 --xds-port 8001 --xds-resource-version v3 \
        --admin-address "$state/admin.sock" --resources-dir "$state/resources" > /dev/null
    start envoy "$contour/envoy" -c "$state/envoy.json" --service-cluster projectcontour --service-node envoy \
        --log-level warning --concurrency 1 --use-dynamic-base-id
    until_true 60 "Envoy is ready" curl -sf --max-time 1 -o /dev/null http://127.0.0.1:8002/ready
}

start_cert_manager() {
    phase "Start cert-manager, with a CA as ClusterIssuer"
    kubectl apply --server-side -f "$cert_manager/crds" > /dev/null
    kubectl wait --for=condition=Established --timeout=60s crd --all > /dev/null
    kubectl create namespace cert-manager > /dev/null
    kubectl -n cert-manager create secret tls e2e --cert "$state/tls/ca.crt" --key "$state/tls/ca.key" > /dev/null
    kubectl apply -f - > /dev/null <<-YAML
		apiVersion: cert-manager.io/v1
		kind: ClusterIssuer
		metadata: {name: e2e}
		spec: {ca: {secretName: e2e}}
	YAML
    start cert-manager "$cert_manager/cert-manager" --kubeconfig "$KUBECONFIG"
    until_true 60 "the ClusterIssuer is ready" kubectl wait --for=condition=Ready --timeout=1s clusterissuer/e2e
}

# --- small tools --------------------------------------------------------------------------------------

# step WHAT COMMAND…: runs it, and counts. What later steps stand on has failed with it, so the first
# failure ends the run.
step() {
    local what=$1 begun=$SECONDS result; shift
    attempt "$@"
    if [ "$result" = 0 ]; then
        passed=$((passed + 1))
        printf 'ok    [%3d s] %s (%d s)\n' "$SECONDS" "$what" $((SECONDS - begun))
    else
        failed=$((failed + 1))
        printf 'FAILED [%3d s] %s\n\n%d passed, %d failed\n' "$SECONDS" "$what" "$passed" "$failed"
        diagnose >&2
        exit 1
    fi
}

# attempt COMMAND…: sets `result`. Never to be called in a condition: there the shell would ignore all
# failures in the command but the last.
attempt() {
    set +e
    (set -e; "$@")
    result=$?
    set -e
}

diagnose() {
    kubectl get mtasts,cmtastsdns,pods,ingress -A 2> /dev/null || true
    kubectl get mtasts -A -o 'jsonpath={range .items[*].status.conditions[*]}{.type}{"\t"}{.status}{"\t"}{.reason}{"\t"}{.message}{"\n"}{end}' 2> /dev/null || true
    kubectl -n "$system" logs -l app.kubernetes.io/name=mta-sts-operator --all-containers --tail=15 --prefix 2> /dev/null || true
}

# start NAME COMMAND…: in the background, out of reach of Ctrl-C. Its pid is written by itself.
start() {
    local name=$1; shift
    (cd "$state" && setsid --fork sh -c 'echo $$ > "pid/$0"; exec "$@" > "log/$0.log" 2>&1 < /dev/null' "$name" "$@")
    until_true 5 "$name has begun" test -s "$state/pid/$name"
}

# until_true SECONDS WHAT COMMAND…
until_true() {
    local seconds=$1 what=$2 begun=$SECONDS; shift 2
    until "$@" > /dev/null 2> "$state/log/last-try"; do
        [ $((SECONDS - begun)) -lt "$seconds" ] || die "waited $seconds s for: $what; at last: $(tail -n 1 "$state/log/last-try")"
        sleep 0.1
    done
}

phase() { printf '\n[%3d s] %s\n' "$SECONDS" "$*"; }
say() { echo "  $*"; }
die() { echo "e2e: $*" >&2; exit 1; }

finish() {
    trap - EXIT INT TERM HUP
    [ -n "${state:-}" ] || exit "$1"
    if [ "${KEEP:-}" = 1 ] && [ "$1" != 130 ]; then
        echo "It is still running: export KUBECONFIG=$state/node/kubeconfig"
        echo "To end it: kill \$(cat $state/pid/*); $root/e2e/node/down.sh $state/node; rm -rf $state"
        exit "$1"
    fi
    local file
    for file in "$state"/pid/*; do
        # Only what still is what was started here.
        [ -e "$file" ] && [ "$(readlink "/proc/$(cat "$file")/cwd" 2> /dev/null)" = "$state" ] && kill "$(cat "$file")" || true
    done
    "$root/e2e/node/down.sh" "$state/node"
    rm -rf "$state" || { sleep 1; rm -rf "$state"; }
    exit "$1"
}
