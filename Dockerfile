# Entrepot's image. It takes registry:2's place: the same port, volume, file, variables and command line.
#
#   docker build -t entrepot .
#   docker run -d -p 5000:5000 -v registry:/var/lib/registry entrepot
#
# It runs as root, as registry:2's does, whose volumes and keys belong to root. `--user 65532:65532` works as well, on a
# volume that belongs to that user; the examples in deploy/ do so.

FROM rust:1.95-slim-bookworm AS build
# Or dev, which is built sooner and serves slower.
ARG PROFILE=release
ENV CARGO_PROFILE_RELEASE_STRIP=symbols
WORKDIR /src
# The dependencies in a layer of their own, which a change of the sources leaves as it is. What is not copied is not named.
COPY Cargo.toml Cargo.lock ./
RUN sed -i '/^\[\[\(bench\|test\)\]\]/,/^$/d' Cargo.toml \
    && mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
    && cargo build --locked --profile "$PROFILE"
COPY src src
# What was copied can be older than what was built of the stand-ins.
RUN touch src/main.rs src/lib.rs \
    && cargo build --locked --profile "$PROFILE" \
    && install -D target/*/entrepot /image/bin/entrepot \
    && ln -s entrepot /image/bin/registry \
    && install -D /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt
COPY deploy/image/entrypoint /image/entrypoint
COPY deploy/image/config.yml /image/etc/docker/registry/config.yml

FROM debian:bookworm-slim
# Not as one tree: /bin is a link in Debian's image.
COPY --from=build /image/bin/ /usr/bin/
COPY --from=build /image/etc/ /etc/
COPY --from=build /image/entrypoint /entrypoint
ENV REGISTRY_CONFIGURATION_PATH=/etc/docker/registry/config.yml
EXPOSE 5000
VOLUME ["/var/lib/registry"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["entrepot", "health"]
ENTRYPOINT ["/entrypoint"]
CMD ["/etc/docker/registry/config.yml"]
