#!/bin/bash
# start.sh TEMPLATE RENDERED COMMAND…: renders Kong's routes, for this user alone to read, and becomes
# the command. Without routes that can be rendered, nothing starts.
set -euo pipefail

template=$1 rendered=$2
shift 2
kombi-exchange kong render "$template" --output "$rendered"
exec "$@"
