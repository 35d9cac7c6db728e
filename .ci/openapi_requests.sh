#!/usr/bin/env bash
# Requests made from the server's own OpenAPI document, allowed ones and forbidden ones: none may be the server's error.
# usage: openapi_requests.sh SCHEMATHESIS URL
# First for models of several kinds those that leave them in service, so that they are met, then all, which may take the
# model out of service: only then is 503 what is meant.
set -euo pipefail
schemathesis="$1" url="$2"
config="$(cd "$(dirname "$0")" && pwd)/schemathesis.toml"
notes="$(mktemp -d)"
trap 'rm -rf "$notes"' EXIT
cd "$notes"
ask() {
    local model="$1" seconds="$2" meant="$3"
    shift 3
    sed -e "s/MODEL/$model/" -e "s/MEANT/$meant/" "$config" > schemathesis.toml
    "$schemathesis" --config-file schemathesis.toml run "$url/openapi.json" --checks not_a_server_error --seed 1 \
        --warnings off --phases examples,coverage,fuzzing --max-examples 20 --max-time "$seconds" "$@" | tail -25
}
for model in identity_fp32 identity_bytes iris absent; do
    ask "$model" 15 501 --include-path-regex '^/(v1|v2/models|predictions|explanations|invocations|score|ping)'
done
ask identity_fp32 40 '501", "503'
