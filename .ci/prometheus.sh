#!/usr/bin/env bash
# The metrics of mlops-monitor against the real Prometheus: promtool has no complaint, a server scrapes
# OpenMetrics and answers, and every query of the dashboard is one that it understands. OpenTelemetry's protocol buffers
# read the OTLP body. Skips, saying so, what cannot be had. Uses cargo's usual target folder.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { printf 'skipped: %s\n' "$1"; exit 0; }
if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
    command -v apt-get >/dev/null || skip "no Prometheus here and no apt-get to install it"
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus) \
        >/dev/null 2>&1 || skip "the package prometheus cannot be installed"
fi

work="$(mktemp -d)"
processes=()
cleanup() {
    for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; wait "$process" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

cargo build --quiet --package mlops-monitor --example metrics_endpoint
target="${CARGO_TARGET_DIR:-$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')}"
"$target/debug/examples/metrics_endpoint" 127.0.0.1:0 >"$work/url" &
processes+=($!)
for _ in $(seq 100); do
    [ -s "$work/url" ] && break
    kill -0 "${processes[0]}" || exit 1
    sleep 0.1
done
url=$(cat "$work/url")
endpoint=${url#http://}; endpoint=${endpoint%/metrics}

fetch() { curl --silent --show-error --fail --noproxy '*' "$@"; }

# promtool reads the classic format; it prints complaints and ends with 3 when it has any.
fetch "$url" >"$work/classic.txt"
complaints=$(promtool check metrics <"$work/classic.txt" 2>&1) || { printf 'promtool: %s\n' "$complaints"; exit 1; }
[ -z "$complaints" ] || { printf 'promtool: %s\n' "$complaints"; exit 1; }
printf 'promtool check metrics: no complaint about %s series\n' "$(grep -vc '^#' "$work/classic.txt")"

fetch "http://$endpoint/otlp" >"$work/otlp.json"
if python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet opentelemetry-proto >"$work/pip.log" 2>&1; then
    "$work/venv/bin/python" .ci/otlp_metrics.py "$work/classic.txt" "$work/otlp.json"
else
    echo "skipped: OTLP, for the Python package opentelemetry-proto cannot be installed"
fi

port=$(free_port)
cat >"$work/prometheus.yml" <<YAML
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: monitor
    static_configs: [{targets: ["$endpoint"]}]
YAML
promtool check config "$work/prometheus.yml" >/dev/null
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" \
    --web.listen-address="127.0.0.1:$port" --log.level=warn 2>"$work/prometheus.log" &
processes+=($!)

fetch "http://$endpoint/dashboard.json" >"$work/dashboard.json"
python3 - "http://127.0.0.1:$port" "$work/dashboard.json" "$work/classic.txt" <<'PY' || { tail -5 "$work/prometheus.log"; exit 1; }
import json, re, sys, time, urllib.parse, urllib.request

server, dashboard, classic = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def ask(path, **parameters):
    address = f"{server}{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
    try:
        with opener.open(address, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)

def query(expression):
    answer = ask("/api/v1/query", query=expression)
    assert answer["status"] == "success", f"{expression}: {answer}"
    return answer["data"]["result"]

def scraped():
    try:
        return [target for target in ask("/api/v1/targets")["data"]["activeTargets"] if target["health"] == "up"]
    except OSError:
        return []

deadline = time.monotonic() + 60
while not (scraped() and len(query("count_over_time(up{job=\"monitor\"}[1m]) >= 3"))):
    assert time.monotonic() < deadline, f"nothing was scraped: {ask('/api/v1/targets')}"
    time.sleep(0.2)
target = scraped()[0]
assert not target["lastError"], target

# Every family that the endpoint names has been stored, with its type and unit.
families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", open(classic).read(), re.M))
known = ask("/api/v1/targets/metadata", match_target='{job="monitor"}')["data"]
stored = {entry["metric"]: entry for entry in known}
for name, kind in families.items():
    entry = stored.get(name) or stored.get(re.sub("_(total|info)$", "", name))
    assert entry and entry["help"], f"{name} has no metadata"
    assert query(name if kind != "histogram" else f"{name}_count"), f"{name} has no samples"
units = {entry["metric"]: entry["unit"] for entry in known if entry["unit"]}
assert units.get("mlops_window_rows") == "rows", f"no units, so OpenMetrics was not negotiated: {units}"
print(f"Prometheus scraped {len(families)} families by OpenMetrics, units {sorted(set(units.values()))}")

one = lambda expression: float(query(expression)[0]["value"][1])
assert one('mlops_window_rows{model="price"}') == 400
assert one('mlops_drifted_features_ratio{model="income"}') == 0
assert one('mlops_monitor_runs_total{model="income",outcome="ok"}') >= 3
assert one('sum(mlops_monitor_run_duration_seconds_bucket{le="+Inf"})') == one("sum(mlops_monitor_run_duration_seconds_count)")
assert 0.8 < one('mlops_performance_estimate{model="price",kind="cbpe"}') < 0.91
assert abs(time.time() - one('mlops_last_success_timestamp_seconds{model="price"}')) < 60
names = {result["metric"]["feature"] for result in query("mlops_drift_detected")}
assert 'a "quoted\\name"\ufffdof two lines' in names, names
print("values and escaped labels came through")

# The dashboard: Grafana replaces its variables before it asks.
def expressions(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "expr":
                yield value
            elif key == "definition":
                yield re.fullmatch(r"label_values\((.*), \w+\)", value).group(1)
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for item in node:
            yield from expressions(item)

found = list(expressions(json.load(open(dashboard))))
empty = []
for expression in found:
    plain = expression
    for name, value in {"$model": ".*", "$version": ".*", "$method": "ks", "$__rate_interval": "1m"}.items():
        plain = plain.replace(name, value)
    assert "$" not in plain, f"unknown variable in {expression}"
    if not query(plain):
        empty.append(expression)
    end = time.time()
    answer = ask("/api/v1/query_range", query=plain, start=end - 60, end=end, step=5)
    assert answer["status"] == "success", f"{expression}: {answer}"
# A drifted feature appears after a few windows, a new version only after five minutes.
unexpected = [expression for expression in empty if "unless" not in expression and "== 1" not in expression]
assert not unexpected, f"nothing to draw for {unexpected}"
print(f"all {len(found)} queries of the dashboard are understood and {len(found) - len(empty)} have something to draw")
PY
