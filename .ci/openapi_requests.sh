#!/usr/bin/env bash
# Requests made from the server's own OpenAPI document, allowed ones and forbidden ones: none may be the server's error.
# usage: openapi_requests.sh SCHEMATHESIS URL
# First those that leave the models in service, so that they are met, then all. `:explain` says 501 where a model has no
# explanation, which is what it means.
set -euo pipefail
schemathesis="$1" url="$2"
config="$(cd "$(dirname "$0")" && pwd)/schemathesis.toml"
notes="$(mktemp -d)"
trap 'rm -rf "$notes"' EXIT
cd "$notes"
ask() {
    "$schemathesis" --config-file "$config" run "$url/openapi.json" --checks not_a_server_error --seed 1 --warnings off \
        --phases examples,coverage,fuzzing --max-examples 20 --max-time 40 --exclude-path-regex expla "$@" | tail -25
}
ask --include-path-regex '^/(v1|v2/models|predictions|invocations|score|ping)'
ask
