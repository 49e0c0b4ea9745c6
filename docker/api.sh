#!/bin/sh
# The API of the demonstration; the first time it also does what an operator would: first key, scope, one key and one configuration a sensor.
set -eu
shared=/run/picket
until picket-api --version >/dev/null && [ -s "$shared/server.pub" ]; do sleep 1; done
picket-api &
api=$!
trap 'kill "$api"' TERM INT
if [ ! -e "$shared/ready" ]; then
    until PICKET_API_KEY=$(picketctl bootstrap 2>/dev/null); do
        sleep 1
        kill -0 "$api" 2>/dev/null || { # it ends when the database is not there yet
            picket-api &
            api=$!
        }
    done
    export PICKET_API_KEY
    (umask 077 && printf '%s\n' "$PICKET_API_KEY" >"$shared/admin.key")
    picketctl apply -f /captures/scope.yaml
    for site in hq branch cloud; do
        public=$(picket-aggregator genkey "$shared/$site.key")
        picketctl sensor add --site "acme/$site" --name "$site-1" --pubkey "$public"
        cat >"$shared/$site.yaml" <<YAML
sensor: $site-1
site: acme/$site
scope: /captures/scope.yaml
key_file: $shared/$site.key
capture: {read: [/captures/$site.pcap], shift_to_now: true}
spool: {folder: /var/lib/picket/spool}
aggregator:
  endpoints: ["$AGGREGATOR"]
  server_key: '$(cat "$shared/server.pub")'
YAML
    done
    : >"$shared/ready"
fi
wait "$api"
