# What tools/quickstart.sh runs its story on: the parts, how each is started, and how all are stopped.
# To be sourced.

prepare() {
    phase "Get the parts: Debian packages, etcd and kube-apiserver, our own binary"
    "$root/tools/debian-packages.sh" quickstart
    assets=$("$root/tools/k8s-assets.sh" | tail -n 1)
    PATH=$PATH:/usr/local/sbin:/usr/sbin:$assets
    command -v cargo > /dev/null || die "Rust is missing: https://rustup.rs says how to install it"
    (cd "$root" && cargo build --locked --bin mta-sts)
    mta_sts=$(cd "$root" && cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/mta-sts

    state=$(mktemp -d "${TMPDIR:-/tmp}/mta-sts-quickstart.XXXXXX")
    mkdir "$state/log" "$state/pid" "$state/tls"
    for name in etcd_port etcd_peer_port api_port dns_port front_port serve_port serve_admin_port controller_admin_port; do
        free_port; declare -g "$name=$REPLY"
    done
    curl_front=(--cacert "$state/tls/front-ca.crt" --connect-to "$host:443:127.0.0.1:$front_port")
    (cd "$state/tls"
        for ca in kubernetes front; do
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
                -keyout "$ca-ca.key" -out "$ca-ca.crt" -subj "/CN=quickstart $ca CA"
        done
        certificate kubernetes IP:127.0.0.1
        certificate front "DNS:$host"
        openssl ec -in kubernetes.key -pubout -out kubernetes.pub) 2> "$state/log/openssl.log"
    say "all files of this run are in $state"
}

# certificate NAME SAN: NAME.crt and NAME.key, by the CA of that name
certificate() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -subj "/CN=$1" |
        openssl x509 -req -days 30 -CA "$1-ca.crt" -CAkey "$1-ca.key" -CAcreateserial -out "$1.crt" \
            -extfile <(echo "subjectAltName=$2")
}

start_kubernetes() {
    phase "Start etcd and kube-apiserver"
    local etcd=http://127.0.0.1:$etcd_port peer=http://127.0.0.1:$etcd_peer_port token
    token=$(openssl rand -hex 16)
    (umask 077; echo "$token,admin,admin,system:masters" > "$state/tokens.csv")
    start etcd etcd --name quickstart --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "$etcd" --advertise-client-urls "$etcd" --listen-peer-urls "$peer" \
        --initial-advertise-peer-urls "$peer" --initial-cluster "quickstart=$peer"
    start kube-apiserver kube-apiserver --etcd-servers "$etcd" --secure-port "$api_port" \
        --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --endpoint-reconciler-type none \
        --tls-cert-file tls/kubernetes.crt --tls-private-key-file tls/kubernetes.key --cert-dir tls/auto \
        --token-auth-file tokens.csv --authorization-mode RBAC --service-cluster-ip-range 10.96.0.0/16 \
        --service-account-issuer https://kubernetes.default.svc \
        --service-account-key-file tls/kubernetes.pub --service-account-signing-key-file tls/kubernetes.key
    export KUBECONFIG=$state/kubeconfig
    kubectl config set-cluster quickstart --server "https://127.0.0.1:$api_port" \
        --certificate-authority "$state/tls/kubernetes-ca.crt" --embed-certs > /dev/null
    kubectl config set-credentials admin --token "$token" > /dev/null
    kubectl config set-context quickstart --cluster quickstart --user admin > /dev/null
    kubectl config use-context quickstart > /dev/null
    until_true 60 "the API server is ready" kubectl get --raw /readyz
    show kubectl get namespaces
}

start_dns() {
    phase "Start BIND as the authoritative server of $domain"
    tsig_secret=$(openssl rand -base64 32)
    mkdir "$state/dns"
    cat > "$state/dns/$domain.zone" <<-ZONE
		\$TTL 30
		@     SOA ns hostmaster 1 3600 600 86400 30
		@     NS  ns
		@     MX  10 mail
		ns    A   127.0.0.1
		mail  A   127.0.0.1
	ZONE
    cat > "$state/dns/named.conf" <<-CONF
		options {
		    directory "$state";
		    pid-file none;
		    lock-file none;
		    session-keyfile "dns/session.key";
		    managed-keys-directory "dns";
		    listen-on port $dns_port { 127.0.0.1; };
		    listen-on-v6 { none; };
		    recursion no;
		    dnssec-validation no;
		    notify no;
		};
		controls { };
		key quickstart { algorithm hmac-sha256; secret "$tsig_secret"; };
		zone $domain {
		    type primary;
		    file "dns/$domain.zone";
		    update-policy { grant quickstart zonesub ANY; };
		};
	CONF
    start named named -g -n 1 -c "$state/dns/named.conf"
    until_true 20 "BIND answers" answers "$domain" SOA
    show dig +short $domain MX @127.0.0.1 -p "$dns_port"
}

start_front() {
    phase "Start nginx as the public HTTPS front of $host"
    mkdir "$state/front"
    cat > "$state/front/nginx.conf" <<-CONF
		daemon off;
		worker_processes 1;
		$([ "$(id -u)" != 0 ] || echo 'user root;')
		pid nginx.pid;
		error_log ../log/nginx-errors.log;
		events { }
		http {
		    access_log ../log/nginx-access.log;
		    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
		    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
		    server {
		        listen 127.0.0.1:$front_port ssl;
		        server_name $host;
		        ssl_certificate ../tls/front.crt;
		        ssl_certificate_key ../tls/front.key;
		        location / { proxy_pass http://127.0.0.1:$serve_port; proxy_set_header Host \$host; }
		    }
		}
	CONF
    start nginx nginx -e "$state/log/nginx-errors.log" -p "$state/front" -c nginx.conf
    until_true 20 "nginx answers" curl -sS -o /dev/null "${curl_front[@]}" "https://$host/"
    say "nginx serves $host on 127.0.0.1:$front_port and asks 127.0.0.1:$serve_port, where nobody is yet"
}

start_operator() {
    phase "Install the custom resources and start the operator"
    cp -r "$root/crds" "$root/examples" "$state"
    # The examples are valid as they stand; this run has its own port and key.
    sed -i -e "s|127.0.0.1:53|127.0.0.1:$dns_port|" -e "s|^  key: .*|  key: $tsig_secret|" \
        "$state/examples/quickstart/provider.yaml"
    show kubectl apply -f crds/
    show kubectl wait --for=condition=Established --timeout=60s crd --all
    show kubectl apply -f examples/quickstart/cluster.yaml
    start serve "$mta_sts" serve --namespace mta-sts-system --listen "127.0.0.1:$serve_port" \
        --admin-listen "127.0.0.1:$serve_admin_port" --drain-seconds 0
    start controller "$mta_sts" controller --namespace mta-sts-system --policy-endpoint "127.0.0.1:$serve_port" \
        --authoritative "$domain=127.0.0.1:$dns_port" --resolver "127.0.0.1:$dns_port" \
        --connect-to "$host:443:127.0.0.1:$front_port" --ca-file "$state/tls/front-ca.crt" \
        --allow-target 127.0.0.0/8 --smtp Never --retirement-delay 0 --admin-listen "127.0.0.1:$controller_admin_port"
    until_true 60 "the policy server is ready" curl -sSf -o /dev/null "http://127.0.0.1:$serve_admin_port/readyz"
    until_true 60 "the controller is ready" curl -sSf -o /dev/null "http://127.0.0.1:$controller_admin_port/readyz"
}

# --- small tools ----------------------------------------------------------------------------------

# free_port: sets REPLY to a port on which nobody listens, below those of outgoing connections
free_port() {
    while :; do
        REPLY=$((20000 + RANDOM % 12000))
        [[ " ${ports:-} " != *" $REPLY "* ]] || continue
        (exec 3<> "/dev/tcp/127.0.0.1/$REPLY") 2> /dev/null || break
    done
    ports="${ports:-} $REPLY"
}

# start NAME COMMAND…: in the background, out of reach of Ctrl-C, which finish answers
start() {
    local name=$1; shift
    blame=$name
    (cd "$state" && exec setsid "$@" > "log/$name.log" 2>&1 < /dev/null) &
    echo $! > "$state/pid/$name"
    disown
}

# until_true SECONDS WHAT COMMAND…
until_true() {
    local seconds=$1 what=$2 begun=$SECONDS told=0 name; shift 2
    until "$@" > /dev/null 2> "$state/log/last-try"; do
        for name in "$state"/pid/*; do
            [ -e "$name" ] || continue
            is_ours "$state" "$(cat "$name")" || { blame=${name##*/}; die "$blame has ended"; }
        done
        [ $((SECONDS - begun)) -lt "$seconds" ] || die "waited $seconds s for: $what; at last: $(tail -n 1 "$state/log/last-try")"
        [ $((SECONDS - begun - told)) -lt 5 ] || { told=$((SECONDS - begun)); say "waiting until $what ($told s)"; }
        sleep 0.1
    done
}

txt() { dig +short +tries=1 +time=2 TXT "_mta-sts.$domain" @127.0.0.1 -p "$dns_port"; }
# The policy with mode none is served, and DNS announces it.
none_is_out() {
    local answer
    answer=$(curl -sSi "${curl_front[@]}" "https://$host/.well-known/mta-sts.txt" | tr -d '\r') &&
        grep -q '^mode: none' <<< "$answer" && txt | grep -q "$(sed -n 's/^etag: "\(.*\)"$/\1/Ip' <<< "$answer")"
}
# What dig says of a connection that was refused goes to the same place, behind a semicolon.
answers() { dig +short +tries=1 +time=1 "$1" "$2" @127.0.0.1 -p "$dns_port" | grep -q '^[^;]'; }

# show COMMAND…: prints it as one would type it in the state folder, and runs it
show() {
    printf '  $'; for word in "$@"; do [[ $word =~ ^[A-Za-z0-9_./:=@+,-]+$ ]] && printf ' %s' "$word" || printf " '%s'" "$word"; done; echo
    (cd "$state" && "$@") 2>&1 | sed 's/^/    /'
}

phase() { printf '\n[%3d s] %s\n' "$SECONDS" "$*"; }
say() { echo "  $*"; }
die() { echo "quickstart: $*" >&2; exit 1; }

is_ours() { [ "$(readlink "/proc/$2/cwd" 2> /dev/null)" = "$1" ]; }

# stop FOLDER: the last started first; none of them needs long to end
stop() {
    local folder=$1 name pid
    [ -d "$folder/pid" ] || die "$folder is no folder of a quickstart"
    for name in controller serve nginx named kube-apiserver etcd; do
        pid=$(cat "$folder/pid/$name" 2> /dev/null) && is_ours "$folder" "$pid" || continue
        kill "$pid" 2> /dev/null || true
        for _ in {1..20}; do is_ours "$folder" "$pid" || break; sleep 0.1; done
        ! is_ours "$folder" "$pid" || kill -KILL "$pid" 2> /dev/null || true
    done
    rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }
}

finish() {
    trap - EXIT INT TERM HUP
    [ -z "${watcher:-}" ] || kill "$watcher" 2> /dev/null || true
    [ -n "${state:-}" ] || exit "$1"
    if [ "$1" != 0 ] && [ "$1" != 130 ] && [ -s "$state/log/${blame:-}.log" ]; then
        echo "quickstart: the log of $blame ends with" >&2
        tail -n 20 "$state/log/$blame.log" >&2
    fi
    if [ "${KEEP:-}" = 1 ] && [ "$1" != 130 ]; then
        [ "$1" = 0 ] || echo "quickstart: KEEP=1 left it running; stop it with: $root/tools/quickstart.sh stop $state" >&2
        exit "$1"
    fi
    stop "$state"
    exit "$1"
}
