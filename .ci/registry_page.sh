#!/usr/bin/env bash
# The pages of experiments and models in a real browser: their script runs under the policy they are sent with, charts
# draw, zoom and go logarithmic, runs can be selected and compared, and pages draw in light and dark.
# usage: registry_page.sh REGISTRY_UI [FOLDER_FOR_SCREENSHOTS]    REGISTRY_UI: the built example of mlops-registry.
# Skips, saying so, where Chromium cannot be had.
set -euo pipefail
program="$(realpath "$1")"
work="$(mktemp -d)"
server=""
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
shots="${2:-$work}"
port=$((20000 + RANDOM % 20000))
site="http://127.0.0.1:$port"

skip() { printf 'skipped: %s\n' "$1"; exit 0; }
if ! command -v chromium >/dev/null; then
    command -v apt-get >/dev/null || skip "no Chromium here and no apt-get to install it"
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium) \
        >/dev/null 2>&1 || skip "the package chromium cannot be installed"
fi

"$program" "$port" >"$work/server" 2>&1 &
server=$!
for _ in $(seq 240); do
    curl -fs "$site/health" >/dev/null 2>&1 && break
    kill -0 "$server" || { cat "$work/server"; exit 1; }
    sleep 0.5
done

browser() { # browser OPTIONS... PAGE
    timeout 120 chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr \
        --user-data-dir="$work/profile" --virtual-time-budget=8000 "$@" 2>"$work/log"
}
page() { curl -fs "$site$1"; }
first() { grep -o "$1" | sed -n 1p; }
count() { { grep -o "$1" "$work/dom.html" || true; } | wc -l; }

experiment=$(page /ui | first '/ui/experiments/[1-9][0-9]*')
images=$(page /ui | grep -o '/ui/experiments/[1-9][0-9]*">images' | first '/ui/experiments/[0-9]*')
fraud=$(page /ui | grep -o '/ui/experiments/[1-9][0-9]*">fraud' | first '/ui/experiments/[0-9]*')
[ -n "$experiment" ] && [ -n "$images" ] || { echo "an experiment is missing"; exit 1; }
run=$(page "$fraud" | first '/ui/runs/[0-9a-f]*')
compared="/ui/compare?$(page "$fraud" | grep -o 'name="run" value="[0-9a-f]*"' | sed 's/.*value="\(.*\)"/run=\1/' | sed -n 1,4p | paste -sd '&')"

# As they are: the script marks the page, nothing was refused, and every chart in view has its points.
for address in /ui "$fraud" "$run" "$compared" /ui/models /ui/models/fraud /ui/models/fraud/3; do
    browser --window-size=1280,2400 --dump-dom "$site$address" >"$work/dom.html"
    grep -q '<html[^>]*class="js"' "$work/dom.html" || { echo "$address: the script did not run"; exit 1; }
    if grep CONSOLE "$work/log"; then echo "$address: the browser complains"; exit 1; fi
    charts=$(count '<figure class="chart"') drawn=$(count 'data-drawn="[1-9][0-9]*"')
    lines=$(count '<path class="line [^>]*clip-path')
    [ "$drawn" = "$charts" ] && [ "$lines" -ge "$charts" ] || { echo "$address: $drawn of $charts charts, $lines lines"; exit 1; }
done

# With a visitor: the page without its policy, from the same server's addresses, and a script that uses it.
visit() { # visit ADDRESS SCRIPT
    python3 - "$site$1" "$2" "$work/visited" <<'PY'
import http.server, sys, threading, urllib.request, subprocess
address, script, out = sys.argv[1:]
site, _, path = address.partition("/ui")
wrapped = "(async () => { let verdict = 'passed'; const check = (what, yes) => { if (!yes) throw what; };" \
    "const wait = async yes => { for (let i = 0; i < 600; i++) { if (yes()) return; await new Promise(go => setTimeout(go, 50)); } throw 'waited in vain for ' + yes; };" \
    "try {" + script + "} catch (why) { verdict = 'failed: ' + why; } document.title = 'visit ' + verdict; })();"
class Pass(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with urllib.request.urlopen(site + self.path) as answer:
            body, kind = answer.read(), answer.headers["content-type"]
        if self.path.split("?")[0].startswith("/ui") and kind.startswith("text/html"):
            body = body.replace(b"</body>", b"<script>addEventListener('load', () => {" + wrapped.encode() + b"});</script></body>")
        self.send_response(200); self.send_header("content-type", kind); self.end_headers(); self.wfile.write(body)
    def log_message(self, *rest): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pass)
threading.Thread(target=server.serve_forever, daemon=True).start()
page = f"http://127.0.0.1:{server.server_port}/ui{path}"
dom = subprocess.run(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={out}-profile",
    "--virtual-time-budget=60000", "--window-size=1280,1600", "--dump-dom", page], capture_output=True, text=True, timeout=120).stdout
title = dom.split("<title>")[1].split("</title>")[0]
print(title)
sys.exit(title != "visit passed")
PY
}
visit "$run" "
const figure = document.querySelector('figure.chart'), svg = figure.querySelector('svg');
await wait(() => figure.dataset.drawn > 500);
const ticks = () => [...svg.querySelectorAll('text.m')].map(t => t.textContent).join();
const before = ticks(), box = svg.getBoundingClientRect();
const point = (kind, part) => svg.dispatchEvent(new PointerEvent(kind, {pointerId: 1, clientX: box.left + part * box.width, clientY: box.top + 50, bubbles: true}));
svg.setPointerCapture = () => {};
point('pointerdown', 0.4); point('pointermove', 0.6); check('a brush', svg.querySelector('.brush')); point('pointerup', 0.6);
await wait(() => ticks() !== before);
await wait(() => figure.dataset.drawn < 600);
point('pointermove', 0.5); check('a readout', /step \\d+/.test(figure.querySelector('.readout').textContent));
figure.querySelector('[title=\"see all\"]').click();
await wait(() => ticks() === before);
const values = () => svg.querySelectorAll('text.e').length && svg.querySelector('text.e').textContent, plain = values();
document.getElementById('chart-log').click(); check('logarithmic', values() !== plain);
const axis = document.getElementById('chart-x'); axis.value = 'time'; axis.dispatchEvent(new Event('change'));
await wait(() => /:/.test(ticks()));
check('no sideways scrolling', document.documentElement.scrollWidth <= innerWidth);
"
visit "$fraud" "
const button = document.querySelector('[data-compare]'), boxes = document.querySelectorAll('input[name=run]');
check('nothing selected', button.disabled);
boxes[0].click(); boxes[1].click();
check('two selected', !button.disabled && button.textContent === 'Compare 2 runs');
check('no sideways scrolling', document.documentElement.scrollWidth <= innerWidth);
"

for scheme in 0 1; do
    theme=$([ $scheme = 0 ] && echo dark || echo light)
    for shot in "experiments:/ui" "runs:$fraud" "run:$run" "compare:$compared" "model:/ui/models/fraud" "version:/ui/models/fraud/3"; do
        file="$shots/registry-${shot%%:*}-$theme.png"
        browser --blink-settings=preferredColorScheme=$scheme --window-size=1280,1500 --screenshot="$file" "$site${shot#*:}" >/dev/null
        [ "$(stat -c %s "$file")" -gt 10000 ] || { echo "$file shows nothing"; exit 1; }
    done
done
[ "$(cksum <"$shots/registry-run-dark.png")" != "$(cksum <"$shots/registry-run-light.png")" ] || { echo "dark looks like light"; exit 1; }
echo "a browser ran the pages without complaint: charts, zoom, selection; light and dark"
