#!/bin/bash
# health.sh [--or-stop PID]: whether the gateway refuses who comes without a token.
#
# Kong serves on without a filter that it could not load, and then every route is open. So this asks
# for a route that demands a token, and is content with the gate's own refusal alone. An answer from
# behind it means that the gate is open: then, with --or-stop, the process PID is ended, because an
# open gateway is worse than none, and Docker goes on to send traffic to a container that is
# unhealthy.
set -u

port=${KOMBI_HEALTH_PORT:-8000}
path=${KOMBI_HEALTH_PATH:-/canary}

if ! exec 3<>"/dev/tcp/127.0.0.1/$port"; then
  echo "unhealthy: nothing listens on port $port"
  exit 1
fi
printf 'GET %s HTTP/1.1\r\nHost: health.invalid\r\nConnection: close\r\n\r\n' "$path" >&3
answer=$(timeout 4 head --bytes=65536 <&3 | tr -d '\0')

case $answer in
  'HTTP/1.1 401 '*'"token_missing"'*)
    exit 0 ;;
  'HTTP/1.1 '*'urn:kombisphere:problem:'*)
    echo "unhealthy: the gate refuses, but not for want of a token: ${answer%%$'\r'*}" ;;
  'HTTP/1.1 '[23]*|'HTTP/1.1 502 '*|'HTTP/1.1 504 '*)
    echo "OPEN: $path was answered without a token: ${answer%%$'\r'*}"
    [ "${1:-}" = --or-stop ] && kill -TERM "$2" ;;
  'HTTP/1.1 '*)
    # Kong's own: no such route, a name that does not resolve, a filter that failed.
    echo "unhealthy: ${answer%%$'\r'*}" ;;
  *)
    echo "unhealthy: no answer" ;;
esac
exit 1
