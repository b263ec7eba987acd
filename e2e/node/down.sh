#!/usr/bin/env bash
# Ends the node of e2e/node/up.sh, and removes its folder: `e2e/node/down.sh FOLDER`.
set -u

state=$(cd "${1:?usage: $0 FOLDER}" 2> /dev/null && pwd) || exit 0
pid=$(cat "$state/pid" 2> /dev/null)
# Its first process; the kernel ends all that it started, and mounts, addresses and rules go with them.
if [ -n "$pid" ] && grep -qz node/init.sh "/proc/$pid/cmdline" 2> /dev/null; then
    kill -KILL "$pid"
    for _ in {1..100}; do [ -d "/proc/$pid" ] || break; sleep 0.1; done
fi
ip link del e2e-node 2> /dev/null
# Control groups are the machine's: the empty ones of the pods stay behind.
for _ in {1..10}; do
    groups=$(find /sys/fs/cgroup -maxdepth 2 -type d \( -name kubepods -o -name k8s.io \) 2> /dev/null)
    [ -n "$groups" ] || break
    echo "$groups" | while read -r group; do find "$group" -depth -type d -exec rmdir {} + 2> /dev/null; done
    sleep 0.3
done
rm -rf "$state"
