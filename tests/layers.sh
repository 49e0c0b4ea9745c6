#!/bin/sh
# Fails when an #include crosses a layer the wrong way.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
bad=0
deny() { # deny <folder> <regex over included names> [regex of paths that are exempt]
    hits=$(grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($2)" "$root/$1" \
        --include='*.[ch]' 2>/dev/null | grep -vE "${3:-^$}")
    if [ -n "$hits" ]; then
        printf '%s\n' "layer violation in $1:" "$hits"
        bad=1
    fi
}
deny include 'sensor/|aggregator/|proto/|zmq|msgpack|libpq|pcap|sodium|jansson|yaml'
deny proto 'sensor/|aggregator/|zmq|libpq|pcap|jansson|microhttpd'
deny proto/base 'picket/(name|dnsmsg|rdata|batch|observation|envelope|segment|key|scope)'
deny proto/dns 'picket/(batch|observation|envelope|segment|key|scope)'
deny sensor 'aggregator/|libpq|microhttpd'
deny sensor 'pcap/' 'sensor/input/capture'
deny sensor 'zmq' 'sensor/ship/uplink'
deny sensor '(fstrm|fstrm/.*)\.h>' 'sensor/input/fstrm'
deny sensor 'protobuf-c|dnstap\.pb-c' 'sensor/input/dnstap\.c'
deny sensor 'seccomp|linux/landlock' 'sensor/confine'
deny sensor/packet 'input/|pairing/|window/|ship/'
deny sensor/pairing 'input/|window/|ship/'
deny sensor/window 'input/|ship/'
deny sensor/ship 'input/|packet/|pairing/'
deny aggregator 'sensor/|pcap'
deny aggregator 'libpq' 'aggregator/store/pg_'
deny aggregator 'zmq' 'aggregator/ingest/'
deny aggregator 'microhttpd' 'aggregator/(api/server|metrics)'
deny aggregator/detect 'zmq|libpq|store/|ingest/|api/'
deny aggregator/ingest 'store/|detect/|api/'
exit $bad
