# picket-aggregator, picket-api and picketctl. Build from the top of the tree: podman build -f docker/aggregator.Dockerfile -t picket-aggregator .
FROM debian:bookworm-slim AS build
# The packages of ./quickstart, so that there is one list.
COPY tests/support/packages.sh /tmp/
RUN bash -c '. /tmp/packages.sh && apt-get update && apt-get install -y --no-install-recommends "${packages_build[@]}"'
COPY . /src
RUN cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo && cmake --build /build --target picket-aggregator picket-api picketctl \
    && strip /build/bin/picket-aggregator /build/bin/picket-api /build/bin/picketctl

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libzmq5 libsodium23 libpq5 libmicrohttpd12 libjansson4 libyaml-0-2 libcurl4 libmsgpackc2 libzstd1 ca-certificates \
    && rm -rf /var/lib/apt/lists/* && useradd --uid 10001 --home-dir /var/lib/picket --create-home picket \
    && install -d -o picket -g picket /run/picket
COPY --from=build /build/bin/picket-aggregator /build/bin/picket-api /build/bin/picketctl /usr/local/bin/
USER picket
WORKDIR /var/lib/picket
ENTRYPOINT ["/usr/local/bin/picket-aggregator"]
