#!/usr/bin/env bash
# Builds the image: a static binary, the public certificate authorities, and nothing else.
#
#   tools/image.sh [OUT.oci.tar]     prints the digest of the manifest as the last line of its output
#
# No Docker is needed. The same commit, Cargo.lock, Rust and C compiler give the same digest, in
# whatever folder: no path of this machine and no time of day gets in (docs/image.md).
# VERSION names the version; without it, it is that of Cargo.toml.
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
triple=x86_64-unknown-linux-musl
name=ghcr.io/mta-sts-operator/mta-sts-operator
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cargo_home=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")

main() {
    local out=${1:-target/image/mta-sts-operator.oci.tar}
    need
    sysroot=$(rustc --print sysroot)
    version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM

    say "compiling mta-sts for $triple (some minutes the first time)"
    compile
    say "writing the certificate authorities"
    cargo run --quiet --locked --release --manifest-path tools/ca-bundle/Cargo.toml --target-dir "$target/ca-bundle" > "$work/ca-certificates.crt"
    mkdir -p "$(dirname "$out")"
    pack "$out"
    python3 tools/image/check.py "$out" --max-mib 25 --forbid "$root" --forbid "$target" --forbid "$cargo_home" --forbid "$HOME/" --forbid "$sysroot"
    python3 tools/image/pack.py --digest "$out"
}

need() {
    local missing=()
    command -v python3 > /dev/null || missing+=("python3")
    command -v musl-gcc > /dev/null || missing+=("musl-gcc ('apt-get install musl-tools')")
    [ -d "$(rustc --print sysroot)/lib/rustlib/$triple" ] || missing+=("Rust's $triple ('rustup target add $triple')")
    [ ${#missing[@]} = 0 ] || { say "missing: $(IFS=,; echo "${missing[*]}")"; exit 1; }
}

# Paths of this machine would be in panic messages and in assertions of the C code.
compile() {
    local flags=() c=() pair
    # The last that fits wins, so the widest comes first.
    for pair in "$cargo_home=/cargo" "$sysroot=/rust" "$root=/src" "$target=/target"; do
        flags+=("--remap-path-prefix=$pair")
        c+=("-ffile-prefix-map=$pair")
    done
    (
        IFS=$'\x1f'
        CARGO_ENCODED_RUSTFLAGS=${flags[*]}
        IFS=' '
        unset RUSTFLAGS
        export CARGO_ENCODED_RUSTFLAGS CFLAGS_x86_64_unknown_linux_musl="${c[*]}" CARGO_INCREMENTAL=0
        cargo build --locked --release --target $triple --target-dir "$target" --bin mta-sts
    )
}

pack() {
    local revision epoch=${SOURCE_DATE_EPOCH:-}
    revision=$(git rev-parse HEAD 2> /dev/null) || revision=unknown
    [ "$revision" = unknown ] || [ -z "$(git status --porcelain 2> /dev/null)" ] || revision+=-modified
    [ -n "$epoch" ] || epoch=$(git log -1 --format=%ct 2> /dev/null) || epoch=0
    SOURCE_DATE_EPOCH=$epoch python3 tools/image/pack.py "$1" "$name:$version" \
        --add "$target/$triple/release/mta-sts:/mta-sts:755" \
        --add "$work/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:644" \
        --entrypoint '["/mta-sts"]' --user 65532:65532 \
        --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
        --port 8080 --port 8081 --port 8082 \
        --label org.opencontainers.image.title=mta-sts-operator \
        --label "org.opencontainers.image.description=$(sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml)" \
        --label org.opencontainers.image.source=https://github.com/mta-sts-operator/mta-sts-operator \
        --label "org.opencontainers.image.version=$version" \
        --label "org.opencontainers.image.revision=$revision" \
        --label org.opencontainers.image.licenses=Apache-2.0
}

say() { echo "image: $*" >&2; }

main "$@"
