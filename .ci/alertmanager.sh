#!/usr/bin/env bash
# The alerts of mlops-monitor against a real Alertmanager: Debian's, on this machine, with its state
# in a temporary folder. Installs it when it is not there; says why when it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

port="${ALERTMANAGER_PORT:-19393}" hook="127.0.0.1:${ALERTMANAGER_HOOK_PORT:-19394}"
work="$(mktemp -d)"
server=""
cleanup() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

if ! command -v prometheus-alertmanager >/dev/null; then
    command -v apt-get >/dev/null || { echo "skipped: no prometheus-alertmanager here and no apt-get to install it"; exit 0; }
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus-alertmanager) >"$work/apt.log" 2>&1 ||
        { tail -3 "$work/apt.log"; echo "skipped: prometheus-alertmanager cannot be installed"; exit 0; }
fi

cat >"$work/alertmanager.yml" <<YAML
route: {receiver: mlops, group_by: [model, severity], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: mlops, webhook_configs: [{url: "http://$hook/"}]}]
YAML
prometheus-alertmanager --config.file="$work/alertmanager.yml" --storage.path="$work/data" \
    --web.listen-address="127.0.0.1:$port" --cluster.listen-address= >"$work/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    curl --silent --fail --noproxy '*' "http://127.0.0.1:$port/-/ready" >/dev/null && break
    kill -0 "$server" 2>/dev/null || { cat "$work/log"; echo "prometheus-alertmanager did not start"; exit 1; }
    sleep 0.1
done

MLOPS_TEST_ALERTMANAGER="http://127.0.0.1:$port" MLOPS_TEST_ALERTMANAGER_HOOK="$hook" \
    cargo test --quiet --package mlops-monitor --test alert -- alertmanager:: --nocapture | tee "$work/out" || { tail -20 "$work/log"; exit 1; }
! grep --quiet '^skipped' "$work/out"
prometheus-alertmanager --version 2>&1 | head -1
