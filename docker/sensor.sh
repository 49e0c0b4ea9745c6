#!/bin/sh
# A sensor of the demonstration: waits for its configuration, ships its capture once.
set -eu
until [ -e /run/picket/ready ]; do sleep 1; done
exec picket-sensor --config "/run/picket/$1.yaml"
