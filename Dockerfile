# One image for all roles: `annulus master`, `annulus auxiliary`, `annulus refresher`.

FROM rust:1.95-bookworm AS build
# `dist` is optimised across all crates: slow to build, fast to run. `dev` is built within a minute or two.
ARG PROFILE=dist
# CI names a test beside the program: with the features that tests ask for, everything is compiled there already.
ARG TARGETS="--package annulus --features kubernetes"
ENV CARGO_TARGET_DIR=/target
WORKDIR /src
COPY . .
RUN cargo build --locked $TARGETS --profile "$PROFILE" \
    && case "$PROFILE" in dev) folder=debug ;; *) folder=$PROFILE ;; esac \
    && mkdir -p /image/usr/local/bin /image/etc/ssl/certs \
    && strip --strip-debug -o /image/usr/local/bin/annulus "/target/$folder/annulus" \
    # For upstreams with TLS: the base has no certificates of its own.
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM debian:bookworm-slim
COPY --from=build /image /
# Snapshots; a volume mounted here begins with the same owner.
RUN install -d -o 65532 -g 65532 -m 0750 /data
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
# Masters: REST and memcached. Auxiliaries: 3001 and 21211. Refreshers: 7000.
EXPOSE 8000 11211 3001 21211 7000
# Of a master; ANNULUS_URL names the port of another role.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["annulus", "health"]
ENTRYPOINT ["annulus"]
CMD ["--help"]
