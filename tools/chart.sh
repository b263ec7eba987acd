#!/usr/bin/env bash
# The chart's generated files, and its tests.
#
#   tools/chart.sh write      writes the definitions, the table of values and deploy/
#   tools/chart.sh generated  tells which of them are out of date
#   tools/chart.sh test       helm lint, helm-unittest and kubeconform (tools/k8s-assets.sh helm, chart)
set -euo pipefail

cd "$(dirname "$0")/.."
chart=charts/mta-sts-operator
manifests=deploy/mta-sts-operator.yaml

main() {
    case ${1:-} in
        write) write "$chart/templates/crds" "$manifests"; tools/chart/values.py "$chart" --write ;;
        generated) generated ;;
        test) unit; conform ;;
        *) die "usage: $0 write|generated|test" ;;
    esac
}

# write FOLDER FILE: the definitions as templates into FOLDER, the whole chart as manifests into FILE
write() {
    tools/chart/crds.py "$1" < crds/mta-sts.dev.yaml
    {
        echo "# The chart with its defaults, for kubectl apply. Written by \`make chart\`: docs/install.md"
        render --set crds.keep=false --skip-tests
    } > "$2"
}

render() { "$(helm)" template mta-sts-operator "$chart" -n mta-sts-system "$@"; }

helm() { [ -n "${helm_program:-}" ] || helm_program=$(tools/k8s-assets.sh helm)/helm; echo "$helm_program"; }

generated() {
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    mkdir "$fresh/crds"
    write "$fresh/crds" "$fresh/manifests.yaml"
    diff -ur "$chart/templates/crds" "$fresh/crds" && diff -u "$manifests" "$fresh/manifests.yaml" ||
        die 'the chart is not what the code says: run "make chart"'
    tools/chart/values.py "$chart"
}

unit() {
    local values
    for values in "$chart"/ci/*.yaml; do "$(helm)" lint --quiet "$chart" --values "$values"; done
    "$(tools/k8s-assets.sh chart)/helm-unittest" "$chart"
}

# Every kind that the chart makes, by the schemas of the Kubernetes release that the tests run against;
# those of Prometheus are checked by its own programs.
conform() {
    local tools schemas values
    tools=$(tools/k8s-assets.sh chart)
    schemas=$(tools/chart/schemas.sh)
    for values in '' "$chart"/ci/*.yaml; do
        render ${values:+--values "$values"} | "$tools/kubeconform" -strict -summary \
            -schema-location "$schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json" \
            -skip PodMonitor,PrometheusRule > /dev/null || die "kubeconform refuses what the chart makes with ${values:-its defaults}"
    done
    echo "kubeconform takes what the chart makes, with its defaults and with each file of $chart/ci"
}

die() { echo "chart: $*" >&2; exit 1; }

main "$@"
