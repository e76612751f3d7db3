# The image that ships: one binary on a base without a shell.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t ringway:0.1.0 .
#
# For a build that can be repeated, give both bases by digest (`NAME:TAG@sha256:…`). The tag of BUILD_IMAGE
# is the channel of rust-toolchain.toml; `./test aws` holds the two together. For arm64: --platform linux/arm64.

ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# checkov:skip=CKV_DOCKER_7:The tag is in the argument above
FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# Function names stay for backtraces; line tables would be most of the image.
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=debuginfo CARGO_TERM_COLOR=never

# The dependencies are a layer of their own, which lasts until a manifest or the lock file changes: they are
# built for programs that do nothing.
COPY Cargo.toml Cargo.lock ./
COPY bench/Cargo.toml bench/
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs \
    && for path in src/lib.rs $(sed -n 's/^path = "\(.*\.rs\)"$/\1/p' bench/Cargo.toml); do \
         mkdir -p "bench/${path%/*}" && echo 'fn main() {}' >"bench/$path"; \
       done \
    && cargo build --locked --release --package ringway --bin ringway

COPY src src
# Cargo goes by modification times, and those of the sources may be older than the empty programs'.
RUN touch src/lib.rs src/main.rs \
    && cargo build --locked --release --package ringway --bin ringway \
    && install -D target/release/ringway /out/ringway

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="ringway" \
      org.opencontainers.image.description="A thread-per-core STOMP over WebSocket edge server" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

COPY --from=build /out/ringway /usr/local/bin/ringway

# By number, so that an orchestrator can see that it is not root. Nothing is written: the root may be read-only.
USER 65532:65532
# The admin listener stays on loopback, where the health check and a sidecar reach it.
ENV RINGWAY_SERVER_LISTEN=0.0.0.0:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
# For engines that look at it (ECS does not: its task definition says the same).
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/ringway", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/ringway"]
CMD ["serve"]
