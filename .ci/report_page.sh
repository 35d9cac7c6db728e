#!/usr/bin/env bash
# A drift report in a real browser: its script runs under its own content security policy, sorting, finding, filtering
# and opening work, charts have their hover titles, and it draws in light and dark, wide and narrow.
# usage: report_page.sh REPORT.html [FOLDER_FOR_SCREENSHOTS]    Skips, saying so, where Chromium cannot be had.
set -euo pipefail
report="$(realpath "$1")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
shots="${2:-$work}"

skip() { printf 'skipped: %s\n' "$1"; exit 0; }
if ! command -v chromium >/dev/null; then
    command -v apt-get >/dev/null || skip "no Chromium here and no apt-get to install it"
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium) \
        >/dev/null 2>&1 || skip "the package chromium cannot be installed"
fi

browser() { # browser OPTIONS... PAGE
    timeout 120 chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr \
        --user-data-dir="$work/profile" --virtual-time-budget=3000 "$@" 2>"$work/log"
}

# As it is: the script marks the page, and nothing was refused or fetched.
browser --dump-dom "file://$report" >"$work/dom.html"
grep -q '<html[^>]*class="js"' "$work/dom.html" || { echo "the script did not run"; exit 1; }
if grep CONSOLE "$work/log"; then echo "the browser complains"; exit 1; fi

# With a visitor: the same page without its policy, and a script that uses it.
python3 - "$report" "$work/visited.html" <<'PY'
import re, sys
page = open(sys.argv[1], encoding="utf-8").read()
page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
visitor = """
const bodies = () => [...document.getElementById('columns').tBodies], shown = () => bodies().filter(b => !b.hidden);
const strengths = () => bodies().map(b => b.rows[0].cells[3].dataset.v).filter(v => v).map(Number);
const check = (what, yes) => { if (!yes) throw what; };
const sort = i => document.querySelectorAll('#columns>thead button')[i];
let verdict = 'passed';
try {
  sort(3).click();
  check('sorts down', strengths().every((v, i, all) => !i || all[i - 1] >= v));
  check('says so', sort(3).closest('th').getAttribute('aria-sort') === 'descending');
  sort(3).click();
  check('sorts up', strengths().every((v, i, all) => !i || all[i - 1] <= v));
  const name = bodies()[0].querySelector('bdi').textContent, find = document.getElementById('find');
  find.value = name.toUpperCase(); find.dispatchEvent(new Event('input'));
  check('finds by name', shown().length >= 1 && shown().every(b => b.textContent.includes(name)));
  find.value = 'no such column'; find.dispatchEvent(new Event('input'));
  check('finds nothing', shown().length === 0 && document.getElementById('count').textContent.startsWith('0 of'));
  find.value = ''; find.dispatchEvent(new Event('input'));
  const filter = document.querySelector('#filters button');
  if (filter) { filter.click(); check('filters', shown().length < bodies().length && new Set(shown().map(b => b.dataset.k)).size === 1); filter.click(); }
  const body = bodies().find(b => b.querySelector('svg.hover')), toggle = body.querySelector('.toggle');
  check('starts closed', toggle.getAttribute('aria-expanded') === 'false');
  toggle.click();
  check('opens', toggle.getAttribute('aria-expanded') === 'true' && body.querySelector('.grid').getBoundingClientRect().height > 100);
  const chart = body.querySelector('svg.hover');
  chart.dispatchEvent(new PointerEvent('pointerenter'));
  check('hover titles', chart.querySelectorAll('.hit title').length === (chart.dataset.x ?? chart.closest('[data-x]').dataset.x).split('\\n').length);
  check('no sideways scrolling of the page', document.documentElement.scrollWidth <= innerWidth);
} catch (why) { verdict = 'failed: ' + why; }
document.title = 'visit ' + verdict;
"""
open(sys.argv[2], "w", encoding="utf-8").write(page.replace("</body>", f"<script>{visitor}</script></body>"))
PY
for width in 1280 420; do
    browser --window-size="$width,1200" --dump-dom "file://$work/visited.html" >"$work/dom.html"
    verdict=$(grep -o '<title>visit [^<]*' "$work/dom.html" | head -1)
    [ "$verdict" = "<title>visit passed" ] || { echo "$width wide: $verdict"; exit 1; }
done

for scheme in 0 1; do
    for width in 1280 500; do
        shot="$shots/report-$([ $scheme = 0 ] && echo dark || echo light)-$width.png"
        browser --blink-settings=preferredColorScheme=$scheme --window-size="$width,1400" --screenshot="$shot" "file://$report" >/dev/null
        [ "$(stat -c %s "$shot")" -gt 20000 ] || { echo "$shot shows nothing"; exit 1; }
    done
done
dark=$(cksum <"$shots/report-dark-1280.png") light=$(cksum <"$shots/report-light-1280.png")
[ "$dark" != "$light" ] || { echo "dark looks like light"; exit 1; }
echo "a browser ran the page without complaint: sorts, finds, filters, opens, hovers; light and dark, wide and narrow"
