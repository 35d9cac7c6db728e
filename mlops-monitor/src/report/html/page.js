(() => {
'use strict';
const $ = id => document.getElementById(id), table = $('columns'), bodies = [...table.tBodies];
document.documentElement.classList.add('js');
const make = (tag, text) => { const e = document.createElement(tag); e.textContent = text; if (tag === 'button') e.type = 'button'; return e; };
const wrap = (cell, button) => { button.append(...cell.childNodes); cell.prepend(button); return button; };

// Hover titles of charts, made when a chart is first pointed at.
const titles = svg => {
  if (svg.dataset.done) return;
  svg.dataset.done = 1;
  const labels = (svg.dataset.x ?? svg.closest('[data-x]')?.dataset.x ?? '').split('\n');
  const lines = svg.dataset.v.split('\n').map(line => line.split(';'));
  const points = svg.querySelector('.l')?.getAttribute('d') ?? '';
  const [left, top, right, , middle] = svg.querySelector('.gridline').getAttribute('d').match(/\d+/g).map(Number), width = right - left;
  const at = [...points.matchAll(/[ML](\d+) /g)].map(m => +m[1]);
  const g = document.createElementNS(svg.namespaceURI, 'g');
  g.setAttribute('class', 'hit');
  const n = labels.length, bins = !svg.querySelector('.l');
  const x = i => at.length === n ? at[i] : left + width * i / Math.max(n - 1, 1);
  labels.forEach((label, i) => {
    const from = bins ? left + width * i / n : i ? (x(i - 1) + x(i)) / 2 : left;
    const to = bins ? left + width * (i + 1) / n : i < n - 1 ? (x(i) + x(i + 1)) / 2 : left + width;
    const rect = document.createElementNS(svg.namespaceURI, 'rect'), title = document.createElementNS(svg.namespaceURI, 'title');
    for (const [k, v] of Object.entries({x: from, y: top, width: Math.max(to - from, 1), height: 2 * (middle - top)})) rect.setAttribute(k, v);
    title.textContent = label + ': ' + lines.map(line => line[0] + ' ' + (line[i + 1] ?? '\u2013')).join(', ');
    rect.append(title);
    g.append(rect);
  });
  svg.append(g);
};
document.querySelectorAll('svg.hover').forEach(svg => svg.addEventListener('pointerenter', () => titles(svg), {once: true}));

// Rows that open.
const open = (body, yes) => {
  const details = body.querySelector('details'), button = body.querySelector('.toggle');
  if (!details) return;
  details.open = yes;
  body.classList.toggle('open', yes);
  button.setAttribute('aria-expanded', yes);
};
bodies.forEach(body => {
  if (!body.querySelector('details')) return;
  const row = body.rows[0], name = row.cells[0].querySelector('bdi'), button = make('button', '');
  button.className = 'toggle';
  name.before(button);
  button.append(name);
  row.addEventListener('click', event => { if (!String(getSelection())) open(body, !body.classList.contains('open')); });
  open(body, false);
});

// Sorting.
const key = (body, i) => {
  const cell = body.rows[0].cells[i], v = cell.dataset.v;
  return v === undefined ? cell.textContent.trim().toLowerCase() : v === '' ? NaN : +v;
};
[...table.tHead.rows[0].cells].forEach((th, i) => wrap(th, make('button', '')).addEventListener('click', () => {
  const numeric = th.classList.contains('n'), now = th.getAttribute('aria-sort');
  const down = now ? now === 'ascending' : numeric;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
  th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const order = (a, b) => {
    const p = key(a, i), q = key(b, i), none = (p !== p) - (q !== q);
    return none || (p < q ? -1 : p > q ? 1 : 0) * (down ? -1 : 1);
  };
  table.append(...[...bodies].sort(order));
}));

// Finding and filtering.
const words = new Map(bodies.map(b => [b.dataset.k, b.rows[0].cells[1].querySelector('.chip').lastChild.textContent.trim()]));
const chosen = new Set(), find = $('find');
const show = () => {
  const text = find.value.trim().toLowerCase();
  let seen = 0;
  bodies.forEach(body => {
    const name = body.rows[0].cells[0].textContent.toLowerCase();
    body.hidden = !(name.includes(text) && (!chosen.size || chosen.has(body.dataset.k)));
    seen += !body.hidden;
  });
  $('count').textContent = seen === bodies.length ? '' : seen + ' of ' + bodies.length + ' shown';
};
if (words.size > 1) for (const [kind, word] of words) {
  const button = make('button', word + ' ' + bodies.filter(b => b.dataset.k === kind).length);
  button.setAttribute('aria-pressed', false);
  button.addEventListener('click', () => {
    chosen.delete(kind) || chosen.add(kind);
    button.setAttribute('aria-pressed', chosen.has(kind));
    show();
  });
  $('filters').append(button);
}
find.addEventListener('input', show);
find.addEventListener('keydown', event => { if (event.key === 'Escape') { find.value = ''; show(); } });
$('all').addEventListener('click', event => {
  const yes = event.target.getAttribute('aria-pressed') !== 'true';
  event.target.setAttribute('aria-pressed', yes);
  event.target.textContent = yes ? 'Close all' : 'Open all';
  bodies.forEach(body => open(body, yes));
});
$('tools').hidden = false;
})();
