#!/usr/bin/env bash
# Installs the Debian packages that a command of this project needs, and starts none of them.
#
#   tools/debian-packages.sh quickstart|test|bench|node
#
# Says nothing and takes no time where all is there. Needs root or sudo for what is missing; without
# either it prints the command to have run. Other systems: the names on the left must be on PATH.
set -euo pipefail

# What each purpose needs: one "program package" a line; or a path, where it is no program.
quickstart='
curl curl
dig bind9-dnsutils
flock util-linux
jq jq
named bind9
nginx nginx-light
openssl openssl
setsid util-linux
'
test=$quickstart'
ip iproute2
knotd knot
nsupdate bind9-dnsutils
pdns_server pdns-server
/usr/share/doc/pdns-backend-sqlite3 pdns-backend-sqlite3
pip3 python3-pip
promtool prometheus
script bsdutils
postfix postfix
sqlite3 sqlite3
unshare util-linux
'
bench=$test'
dnsperf dnsperf
'
node=$quickstart'
busybox busybox-static
containerd containerd
ip iproute2
nft nftables
conntrack conntrack
runc runc
unshare util-linux
/usr/lib/cni/bridge containernetworking-plugins
'

root=()   # the way to become root, where that is needed

main() {
    case ${1:-} in
        quickstart) needed=$quickstart ;;
        test) needed=$test ;;
        bench) needed=$bench ;;
        node) needed=$node ;;
        *) die "usage: $0 quickstart|test|bench|node" ;;
    esac
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin   # where servers live, and ordinary users do not look

    local programs=() packages=() program package
    while read -r program package; do
        [ -n "$program" ] || continue
        command -v "$program" > /dev/null || [ -e "$program" ] || { programs+=("$program"); packages+=("$package"); }
    done <<< "$needed"
    [ ${#packages[@]} != 0 ] || return 0
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

    command -v apt-get > /dev/null || die "missing: ${programs[*]}. This is no Debian or Ubuntu: install what provides them (there the packages are called ${packages[*]})"
    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null && sudo -n true 2> /dev/null || die "missing: ${programs[*]}. Run this as root and try again:  apt-get install --no-install-recommends ${packages[*]}"
        root=(sudo)
    fi
    install "${packages[@]}"
}

# A freshly installed server would start at once and take port 53 or 80 of this machine. Debian asks
# /usr/sbin/policy-rc.d first; one that is there already is the administrator's and stays.
install() {
    local policy=/usr/sbin/policy-rc.d
    echo "debian-packages: installing $*" >&2
    if [ ! -e $policy ]; then
        trap '"${root[@]}" rm -f '$policy EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy > /dev/null
        "${root[@]}" chmod 755 $policy
    fi
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
    # Postfix without a configuration of the system's: it does not start at the next boot either.
    if [[ " $* " = *" postfix "* ]] && command -v debconf-set-selections > /dev/null; then
        echo 'postfix postfix/main_mailer_type select No configuration' | "${root[@]}" debconf-set-selections
    fi
    "${apt[@]}" update > /dev/null || echo "debian-packages: the package lists could not be refreshed; going on with those that are here" >&2
    # A mail server that is here already is not thrown out for Postfix.
    "${apt[@]}" install --no-install-recommends --no-remove "$@" > /dev/null || die "apt-get could not install $*"
}

die() { echo "debian-packages: $*" >&2; exit 1; }

main "$@"
