#!/usr/bin/env bash
# Makes strict JSON schemas for kubeconform from the API description of the Kubernetes release that
# tools/k8s pins, and prints their folder. It is kept outside of the checkout.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/^\tk8s.io\/kubernetes \(v[^ ]*\).*/\1/p' "$here/../k8s/go.mod")
folder=${XDG_CACHE_HOME:-$HOME/.cache}/mta-sts-operator/schemas-$version-$(sha256sum < "$here/schemas.py" | cut -c1-8)
if [ ! -d "$folder" ]; then
    module=$(cd "$here/../k8s" && go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    work=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 "$here/schemas.py" "$module/api/openapi-spec/v3" "$work" >&2
    chmod 755 "$work"
    # Another run may have been faster.
    [ -d "$folder" ] || mv "$work" "$folder"
fi
echo "$folder"
