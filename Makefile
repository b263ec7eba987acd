# The commands of this project. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# A recipe that is cut off leaves no half-written file behind.
.DELETE_ON_ERROR:
# The targets call each other's tools; two at once would only print over each other.
.NOTPARALLEL:

CARGO ?= cargo
MTA_STS = $(CARGO) run --quiet --locked --bin mta-sts --

# List the targets
.PHONY: help
help:
	@awk '/^# / { text = substr($$0, 3) } /^\.PHONY: / { printf "  make %-12s %s\n", $$2, text }' Makefile

# Publish a domain on real parts, here, and watch it (KEEP=1 leaves it running; KUBECONFIG=FILE: in that cluster, after asking)
.PHONY: quickstart
# Only one that is written behind make: whoever has KUBECONFIG in his environment did not mean his cluster by that.
ifeq ($(origin KUBECONFIG),command line)
quickstart:
	@tools/quickstart-cluster.sh
else
quickstart:
	@tools/quickstart.sh
endif

# Prove everything: set up the real parts, check, run all tests
.PHONY: test
test: parts check chart-test
	@tools/test.sh

# Check without running tests: formatting, lints, generated files
.PHONY: check
check: format-check lint generated

# Format all code
.PHONY: fmt
fmt:
	@$(CARGO) fmt

# Tell what `make fmt` would change
.PHONY: format-check
format-check:
	@echo '== formatting'
	@$(CARGO) fmt --check

# Run clippy; a warning is an error
.PHONY: lint
lint:
	@echo '== lints'
	@$(CARGO) clippy --locked --all-targets -- -D warnings

# Write the files that are generated from the code
.PHONY: crds
crds:
	@mkdir -p crds
	@$(MTA_STS) crds > crds/mta-sts.dev.yaml
	@tools/chart.sh write

# Write the manual pages
.PHONY: man
man:
	@rm -rf man && $(MTA_STS) man man

# Write what is generated of the chart: its definitions, its table of values, deploy/
.PHONY: chart
chart:
	@tools/chart.sh write

# Test the chart: helm lint, helm-unittest, kubeconform
.PHONY: chart-test
chart-test:
	@echo '== chart'
	@tools/chart.sh test

# Tell which generated files are out of date
.PHONY: generated
generated:
	@echo '== generated files'
	@$(MTA_STS) crds | diff -u crds/mta-sts.dev.yaml - || { echo 'crds/ is not what the code says: run "make crds"' >&2; exit 1; }
	@tools/chart.sh generated
	@pages=$$(mktemp -d) && $(MTA_STS) man "$$pages" && diff -ru man "$$pages" && rm -r "$$pages" \
		|| { echo 'man/ is not what the code says: run "make man"' >&2; exit 1; }

# Look at licences, bans and sources of the dependencies (needs cargo-deny)
.PHONY: deny
deny:
	@$(CARGO) deny --locked check bans licenses sources

# Run the benchmarks: us against peers, as ratios (benches/README.md)
.PHONY: bench
bench:
	@tools/debian-packages.sh bench
	@$(CARGO) bench --locked --bench '*'

# Fuzz the parsers, each for FUZZ_SECONDS (needs cargo-fuzz and a nightly toolchain)
FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz:
	@for target in $$(cd fuzz && $(CARGO) +nightly fuzz list); do \
		echo "== $$target"; \
		(cd fuzz && $(CARGO) +nightly fuzz run "$$target" -- -max_total_time=$(FUZZ_SECONDS)); \
	done

# Play the lifecycle in MODEL_RUNS simulated worlds, 500 of which are part of `make test`
MODEL_RUNS ?= 20000
.PHONY: model
model:
	@MODEL_RUNS=$(MODEL_RUNS) $(CARGO) test --locked --test model every_promise

# Build the image, reproducibly and without Docker: target/image/mta-sts-operator.oci.tar
.PHONY: image
image:
	@tools/image.sh

# Install the chart on a real node with pods, and prove it under load (as root; KEEP=1 leaves it running)
.PHONY: e2e
e2e:
	@e2e/run.sh

# Keep the broken domains of tests/fixtures/lab running, to look at them with target/lab/check
.PHONY: lab
lab:
	@$(CARGO) test --quiet --locked --test check -- --ignored --nocapture keep_the_lab_running

# Get what tests run against: Debian packages, etcd and kube-apiserver, other MTA-STS readers, Contour
.PHONY: parts
parts:
	@echo '== real parts'
	@tools/debian-packages.sh test
	@tools/k8s-assets.sh
	@tools/k8s-assets.sh helm
	@tools/k8s-assets.sh chart
	@tools/k8s-assets.sh gitops
	@tools/chart/schemas.sh
	@tools/peers.sh
	@tools/contour.sh
	@tools/external-dns.sh
