#!/usr/bin/env bash
# The genuine Feast SDK (online_store: remote) against examples/feature_server.rs on a fresh home.
# usage: feast.sh FEATURE_SERVER CONFORMANCE_SCRIPT
set -euo pipefail

server_program="$1" script="$2"
venv="${XDG_CACHE_HOME:-$HOME/.cache}/mlops-ci/venv-feast"
work="$(mktemp -d)"
server=""
cleanup() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet feast==0.67.0 'pandas<3'
export FEAST_USAGE=False

start() { # starts the server on the home, sets $url
    "$server_program" --home "$work/home" --port 0 --demo >"$work/url" 2>"$work/log" &
    server=$!
    for _ in $(seq 100); do
        url=$(cat "$work/url")
        [ -z "$url" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/log"
    echo "the feature server did not start"
    exit 1
}

start
"$venv/bin/python" "$script" "$work/repo" "$url"

# What was written is there after a stop and a start, and the server ends well.
kill "$server"
wait "$server"
start
answer=$(curl --silent --fail --noproxy '*' --data '{"features":["drv:b"],"entities":{"driver_id":[1]}}' "$url/get-online-features")
echo "$answer" | grep --quiet '"values":\[9007199254740993\]' || { echo "after a restart: $answer"; exit 1; }
curl --silent --fail --noproxy '*' "$url/metrics" | grep 'mlops_feast_requests_total{path="/get-online-features",status="200"} 1'
kill "$server"
wait "$server"
server=""
