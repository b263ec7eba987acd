# syntax=docker/dockerfile:1
# The image, for those who have Docker, Podman or BuildKit; docs/image.md says how, also for other
# architectures. `make image` builds the same content without them, reproducibly.

# Alpine's Rust links against musl, statically, on each architecture.
FROM docker.io/library/rust:1.95-alpine AS build
RUN apk add --no-cache gcc musl-dev
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin mta-sts \
 && cargo run --quiet --locked --release --manifest-path tools/ca-bundle/Cargo.toml > /ca-certificates.crt \
 && mv target/release/mta-sts /mta-sts

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title=mta-sts-operator \
      org.opencontainers.image.description="A Kubernetes operator and command line for MTA-STS (RFC 8461) and TLS-RPT (RFC 8460)" \
      org.opencontainers.image.source=https://github.com/mta-sts-operator/mta-sts-operator \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.licenses=Apache-2.0
COPY --from=build --chmod=755 /mta-sts /mta-sts
COPY --from=build --chmod=644 /ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /
EXPOSE 8080 8081 8082
USER 65532:65532
ENTRYPOINT ["/mta-sts"]
