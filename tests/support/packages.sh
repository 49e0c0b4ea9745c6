# shellcheck shell=bash
# shellcheck disable=SC2034 # used by those who source it
# Debian packages Picket needs, and how to install the missing ones. Sourced by ./quickstart and ./tests/run.

packages_build=(
    build-essential cmake ninja-build pkg-config ccache
    libzmq3-dev libsodium-dev libmsgpack-dev libpq-dev libpcap-dev libmicrohttpd-dev libjansson-dev libyaml-dev
    libcurl4-openssl-dev libidn2-dev libpsl-dev libseccomp-dev zlib1g-dev liblzma-dev libzstd-dev libcmocka-dev
    libfstrm-dev libprotobuf-c-dev protobuf-c-compiler
)
packages_run=(postgresql publicsuffix ca-certificates)
packages_test=(
    clang clang-format shellcheck valgrind iproute2 nftables procps dnsdbq libcap2-bin
    python3 python3-pytest python3-zmq python3-msgpack python3-psycopg python3-dnspython
    knot knot-module-dnstap knot-dnsutils bind9 nsd unbound dnsdist openssl zstd
)
packages_eval=(python3-matplotlib) # pictures of tests/run --long eval

# packages_need PACKAGE...: installs those that are missing; says what to type when it may not.
packages_need() {
    local missing=() package sudo=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    ((${#missing[@]} == 0)) && return 0
    if ! command -v apt-get >/dev/null; then
        echo "missing packages, and this is not a Debian: ${missing[*]}" >&2
        return 1
    fi
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            printf 'these packages are missing; as root:\n    apt-get install -y %s\n' "${missing[*]}" >&2
            return 1
        fi
        sudo=(sudo)
    fi
    echo "installing ${#missing[@]} packages: ${missing[*]}"
    local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=580 -o Acquire::Retries=3)
    # A cluster of the distribution is not wanted: Picket starts private ones.
    if [[ " ${missing[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
        "${sudo[@]}" mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    # Nor are name servers that start by themselves: the tests run their own.
    local policy=/usr/sbin/policy-rc.d has_policy=
    if [[ " ${missing[*]} " == *" bind9 "* || " ${missing[*]} " == *" unbound "* ]] && [[ ! -e $policy ]]; then
        has_policy=1
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
        "${sudo[@]}" chmod 755 "$policy"
    fi
    local status=0
    { "${apt[@]}" update >/dev/null && "${apt[@]}" install --no-install-recommends "${missing[@]}" >/dev/null; } || status=$?
    [[ -z $has_policy ]] || "${sudo[@]}" rm -f "$policy"
    return "$status"
}
