(() => {
'use strict';
const SVG = 'http://www.w3.org/2000/svg', W = 640, H = 240, LEFT = 58, RIGHT = 12, TOP = 10, BOTTOM = 28;
const $ = id => document.getElementById(id);
const make = (name, attributes = {}, text) => {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
};
const draw = (parent, name, attributes, text) => {
  const e = document.createElementNS(SVG, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
};
document.documentElement.classList.add('js');

// Selecting runs to compare.
const compare = document.querySelector('[data-compare]');
if (compare) {
  const form = compare.form, boxes = () => [...form.querySelectorAll('input[name=run]')];
  const show = () => {
    const chosen = boxes().filter(box => box.checked).length;
    compare.disabled = chosen < 2;
    compare.textContent = chosen < 2 ? 'Select runs to compare' : 'Compare ' + chosen + ' runs';
  };
  form.addEventListener('change', show);
  addEventListener('pageshow', show);
  show();
}

// Numbers and times along axes.
const short = value => {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2).replace(/\.?0+e/, 'e');
  return String(+value.toPrecision(5));
};
const two = n => String(n).padStart(2, '0');
const clock = (ms, span) => {
  const t = new Date(ms);
  if (isNaN(t)) return '';
  const day = t.getUTCFullYear() + '-' + two(t.getUTCMonth() + 1) + '-' + two(t.getUTCDate());
  const hour = two(t.getUTCHours()) + ':' + two(t.getUTCMinutes());
  return span > 3 * 864e5 ? day : span > 36e5 ? day.slice(5) + ' ' + hour : hour + ':' + two(t.getUTCSeconds());
};
const ticks = (low, high, count) => {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high && found.length < 20; k++) found.push(k * step);
  return found;
};
const logTicks = (low, high) => {
  const first = Math.ceil(low), last = Math.floor(high), found = [];
  if (last - first < 1) return ticks(low, high, 4);
  const step = Math.ceil((last - first) / 6);
  for (let k = first; k <= last; k += step) found.push(k);
  return found;
};

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.key = figure.dataset.key;
    this.runs = figure.dataset.runs.split(' ').filter(id => id);
    this.range = null; // [first, last] in units of the x axis
    this.asked = 0;
    this.number = Chart.count = (Chart.count ?? 0) + 1;
    this.svg = draw(figure, 'svg', {viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': 'Curve of ' + this.key});
    this.readout = figure.appendChild(make('p', {class: 'readout', role: 'status'}));
    this.legend = figure.appendChild(make('ul', {class: 'legend'}));
    const steer = figure.querySelector('figcaption').appendChild(make('span', {class: 'steer'}));
    for (const [sign, what, act] of [
      ['\u2039', 'earlier', () => this.move(-0.25, -0.25)], ['\u203a', 'later', () => this.move(0.25, 0.25)],
      ['+', 'zoom in', () => this.move(0.2, -0.2)], ['\u2212', 'zoom out', () => this.move(-0.34, 0.34)],
      ['all', 'see all', () => this.zoom(null)],
    ]) {
      const button = steer.appendChild(make('button', {type: 'button', 'aria-label': what + ': ' + this.key, title: what}, sign));
      button.addEventListener('click', act);
    }
    this.listen();
  }

  async load() {
    const asked = ++this.asked, query = new URLSearchParams({key: this.key});
    for (const id of this.runs) query.append('run', id);
    const steps = this.range && this.steps();
    if (steps) { query.set('first', steps[0]); query.set('last', steps[1]); }
    this.figure.setAttribute('aria-busy', 'true');
    try {
      const answer = await fetch('/ui/chart.json?' + query), found = await answer.json();
      if (asked !== this.asked) return;
      if (!answer.ok) throw new Error(found.error);
      this.found = found.runs;
      if (!this.range) this.whole = found.runs;
      this.paint();
      this.figure.dataset.drawn = this.found.reduce((sum, run) => sum + run.points.length, 0);
    } catch (why) {
      if (asked === this.asked) this.readout.textContent = 'Not drawn: ' + why.message;
    } finally {
      if (asked === this.asked) this.figure.removeAttribute('aria-busy');
    }
  }

  // The range as steps, with a point more on each side so that lines lead out of the view.
  steps() {
    if (!this.byTime()) return [Math.floor(this.range[0]), Math.ceil(this.range[1])];
    let first = Infinity, last = -Infinity;
    for (const {points} of this.whole) {
      const inside = i => points[i][1] >= this.range[0] && points[i][1] <= this.range[1];
      points.forEach((point, i) => {
        const near = inside(i) || (i && inside(i - 1)) || (i + 1 < points.length && inside(i + 1))
          || (i && (points[i - 1][1] < this.range[0]) && point[1] > this.range[1]);
        if (!near) return;
        first = Math.min(first, point[0], i ? points[i - 1][0] : point[0]);
        last = Math.max(last, point[0]);
      });
    }
    return first <= last ? [first, last] : null;
  }

  byTime() { return $('chart-x').value === 'time'; }

  zoom(range) {
    this.range = range;
    this.load();
  }

  move(left, right) {
    if (!this.x) return;
    const [low, high] = this.x, span = high - low;
    if (span > 0) this.zoom([low + left * span, high + right * span]);
  }

  paint() {
    const svg = this.svg, log = $('chart-log').checked, time = this.byTime(), at = time ? 1 : 0;
    svg.replaceChildren();
    const value = y => log ? (y > 0 ? Math.log10(y) : NaN) : y;
    this.lines = this.found.map(run => run.points.map(p => [p[at], value(p[2]), p[2]]).filter(p => !isNaN(p[1])).sort((a, b) => a[0] - b[0]));
    const all = this.lines.flat();
    let [x0, x1] = this.range ?? [Infinity, -Infinity], y0 = Infinity, y1 = -Infinity;
    for (const [x, y] of all) {
      if (!this.range) { x0 = Math.min(x0, x); x1 = Math.max(x1, x); }
      if (x >= x0 && x <= x1) { y0 = Math.min(y0, y); y1 = Math.max(y1, y); }
    }
    this.legend.replaceChildren();
    if (!(x0 <= x1) || !(y0 <= y1)) {
      this.x = this.range;
      draw(svg, 'text', {x: W / 2, y: H / 2, class: 'm'}, log ? 'No positive values here.' : 'No points here.');
      return;
    }
    if (y0 === y1) { const pad = Math.abs(y0) * 0.1 || 1; y0 -= pad; y1 += pad; }
    if (x0 === x1) { x0 -= 1; x1 += 1; }
    const pad = (y1 - y0) * 0.06;
    y0 -= pad; y1 += pad;
    this.x = [x0, x1];
    const right = W - RIGHT, bottom = H - BOTTOM;
    const px = x => LEFT + (x - x0) / (x1 - x0) * (right - LEFT), py = y => bottom - (y - y0) / (y1 - y0) * (bottom - TOP);
    this.px = px; this.py = py;
    this.fromPx = p => x0 + (p - LEFT) / (right - LEFT) * (x1 - x0);
    for (const y of log ? logTicks(y0, y1) : ticks(y0, y1, 4)) {
      draw(svg, 'path', {class: 'gridline', d: `M${LEFT} ${py(y).toFixed(1)}H${right}`});
      draw(svg, 'text', {class: 'e', x: LEFT - 6, y: py(y) + 4}, short(log ? 10 ** y : y));
    }
    for (const x of ticks(x0, x1, time ? 4 : 6)) {
      draw(svg, 'text', {class: 'm', x: Math.min(Math.max(px(x), LEFT + 10), right - 20), y: H - 8}, time ? clock(x, x1 - x0) : short(x));
    }
    draw(svg, 'path', {class: 'axis', d: `M${LEFT} ${bottom}H${right}`});
    const clip = 'clip' + this.number;
    const box = draw(draw(svg, 'clipPath', {id: clip}), 'rect', {x: LEFT, y: TOP - 4, width: right - LEFT, height: bottom - TOP + 8});
    box.parentNode.append(box);
    this.lines.forEach((line, i) => {
      const d = line.map(([x, y], k) => (k ? 'L' : 'M') + px(x).toFixed(1) + ' ' + py(y).toFixed(1)).join('');
      const dash = Math.floor(i / 6) % 4, style = `line s${i % 6}` + (dash ? ' d' + dash : '');
      if (line.length === 1) draw(svg, 'circle', {class: style, cx: px(line[0][0]), cy: py(line[0][1]), r: 3, 'clip-path': `url(#${clip})`});
      else if (line.length) draw(svg, 'path', {class: style, d, 'clip-path': `url(#${clip})`});
      if (this.found.length > 1) {
        const item = this.legend.appendChild(make('li'));
        item.append(make('i', {class: 's' + i % 6}), this.found[i].name);
      }
    });
  }

  // Pointing reads values; dragging asks the server for that range.
  listen() {
    const svg = this.svg;
    let start = null, brush = null, cursor = null;
    const place = event => {
      const box = svg.getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width * W, LEFT), W - RIGHT);
    };
    svg.addEventListener('pointerdown', event => {
      if (!this.fromPx || event.button) return;
      start = place(event);
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener('pointermove', event => {
      if (!this.fromPx) return;
      const x = place(event);
      if (start !== null) {
        brush ??= draw(svg, 'rect', {class: 'brush', y: TOP, height: H - BOTTOM - TOP});
        brush.setAttribute('x', Math.min(start, x));
        brush.setAttribute('width', Math.abs(x - start));
      }
      if (!cursor?.isConnected) cursor = draw(svg, 'path', {class: 'cursor'});
      cursor.setAttribute('d', `M${x} ${TOP}V${H - BOTTOM}`);
      this.read(this.fromPx(x));
    });
    const end = event => {
      const from = start, x = place(event);
      start = null;
      brush?.remove();
      brush = null;
      if (from !== null && event.type === 'pointerup' && Math.abs(x - from) > 6) {
        this.zoom([this.fromPx(Math.min(from, x)), this.fromPx(Math.max(from, x))]);
      }
    };
    svg.addEventListener('pointerup', end);
    svg.addEventListener('pointercancel', end);
    svg.addEventListener('pointerleave', () => { cursor?.remove(); this.readout.textContent = ''; });
    svg.addEventListener('dblclick', () => this.zoom(null));
  }

  read(x) {
    const near = this.lines.map((line, i) => {
      if (!line.length) return '';
      let low = 0, high = line.length - 1;
      while (low < high) { const middle = (low + high) >> 1; line[middle][0] < x ? low = middle + 1 : high = middle; }
      const best = low && x - line[low - 1][0] < line[low][0] - x ? line[low - 1] : line[low];
      const at = this.byTime() ? clock(best[0], 0) : 'step ' + best[0];
      return this.lines.length > 1 ? this.found[i].name + ' ' + short(best[2]) : at + ': ' + short(best[2]);
    });
    const at = this.byTime() ? clock(x, 0) : 'step ' + Math.round(x);
    this.readout.textContent = (this.lines.length > 1 ? at + ': ' : '') + near.filter(text => text).join(', ');
  }
}

const figures = [...document.querySelectorAll('figure.chart')];
if (figures.length) {
  document.querySelector('.charttools').hidden = false;
  const charts = new Map(figures.map(figure => [figure, new Chart(figure)]));
  // A chart is drawn when it comes into view.
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); charts.get(entry.target).load(); }
  }, {rootMargin: '400px'});
  figures.forEach(figure => seen.observe(figure));
  const again = act => charts.forEach(chart => { if (chart.found) act(chart); });
  $('chart-x').addEventListener('change', () => again(chart => chart.zoom(null)));
  $('chart-log').addEventListener('change', () => again(chart => chart.paint()));
}
})();
