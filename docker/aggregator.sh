#!/bin/sh
# The aggregator of the demonstration: its key once, the schema, then the service.
set -eu
[ -e "$PICKET_KEY_FILE" ] || picket-aggregator genkey "$PICKET_KEY_FILE" >/run/picket/server.pub
until picket-aggregator migrate; do sleep 1; done # the database may still be starting
exec picket-aggregator
