# picket-sensor. Build from the top of the tree: podman build -f docker/sensor.Dockerfile -t picket-sensor .
FROM debian:bookworm-slim AS build
# The packages of ./quickstart, so that there is one list.
COPY tests/support/packages.sh /tmp/
RUN bash -c '. /tmp/packages.sh && apt-get update && apt-get install -y --no-install-recommends "${packages_build[@]}"'
COPY . /src
RUN cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo && cmake --build /build --target picket-sensor && strip /build/bin/picket-sensor

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libzmq5 libsodium23 libpcap0.8 libjansson4 libyaml-0-2 libidn2-0 publicsuffix libmsgpackc2 \
    zlib1g liblzma5 libzstd1 libfstrm0 libprotobuf-c1 libseccomp2 libcap2-bin && rm -rf /var/lib/apt/lists/* && useradd --uid 10001 --home-dir /var/lib/picket --create-home picket \
    && install -d -o picket -g picket /run/picket
COPY --from=build /build/bin/picket-sensor /usr/local/bin/
# NET_RAW and nothing else: opening the capture needs it, running does not need root.
RUN setcap cap_net_raw+ep /usr/local/bin/picket-sensor && apt-get purge -y libcap2-bin && apt-get autoremove -y
USER picket
WORKDIR /var/lib/picket
ENTRYPOINT ["/usr/local/bin/picket-sensor"]
CMD ["--config", "/etc/picket/sensor.yaml"]
