#!/usr/bin/env bash
# The first process of the node, in its own mount, network, pid, UTS and IPC namespaces (e2e/node/up.sh).
# The kernel ends all others when it ends.
set -u

hostname node1
mount -t proc proc /proc
# A sysfs of this network, with the control groups that were mounted.
mkdir -p "$state/cgroups"
mount --rbind /sys/fs/cgroup "$state/cgroups" && mount --make-rprivate "$state/cgroups"
mount -t sysfs sysfs /sys && mount --rbind "$state/cgroups" /sys/fs/cgroup && umount -l "$state/cgroups"
# What is written here stays inside.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/containerd /run/lock /run/settings
mount -t tmpfs -o mode=755 tmpfs /var/log
mkdir -p /var/log/pods /var/log/containers
mount --bind "$state/etc/resolv.conf" /etc/resolv.conf
# The kubelet insists on values that hold for the whole machine: it is shown files that have them.
setting() {
    echo "$2" > "/run/settings/${1//\//_}"
    mount --bind "/run/settings/${1//\//_}" "/proc/sys/$1"
}
setting vm/overcommit_memory 1
setting vm/panic_on_oom 0
setting kernel/panic 10
setting kernel/panic_on_oops 1
mount --make-rshared /
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
containerd -c "$state/etc/containerd.toml" > "$state/log/containerd.log" 2>&1 &
touch "$state/containerd.started"
trap 'exit 0' TERM INT
# It also reaps what others leave behind.
while :; do sleep 3600 & wait $!; done
