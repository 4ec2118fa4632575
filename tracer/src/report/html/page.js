'use strict';
// The flame graph and the table of sites, drawn from the data beside this script. Texts of the target only ever become
// text nodes and attribute values. See docs/formats/html.md.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const { names, frames, sites } = data;
  const $ = (id) => document.getElementById(id);

  // ---- numbers as people read them, as in the text report ----
  const digits = (v) => {
    const text = v.toFixed(v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2);
    return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
  };
  const bytes = (n) => {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
    let v = Math.abs(n), unit = 0;
    while (v >= 1023.5 && unit + 1 < units.length) { v /= 1024; unit++; }
    return (n < 0 ? '−' : '') + digits(v) + ' ' + units[unit];
  };
  const count = (n) => n.toLocaleString('en-US');
  const signed = (n) => (n > 0 ? '+' : '') + bytes(n);
  const seconds = (s) => {
    if (s < 1) return Math.round(s * 1000) + ' ms';
    if (s < 60) return digits(s) + ' s';
    const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
    if (h === 0) return `${m} min ${Math.floor(s % 60)} s`;
    return d === 0 ? `${h} h ${m % 60} min` : `${count(d)} d ${h % 24} h`;
  };
  const share = (part, whole) => (whole > 0 ? digits(100 * part / whole) + ' %' : 'n/a');
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // ---- sites: columns to look things up in ----
  const ESTIMATED = 1, COUNTS = 2, STANDS_FOR = 4, COUNT_ESTIMATED = 8, STREAM = 16;
  const has = (site, flag) => (sites.flags[site] & flag) !== 0;
  const all = sites.flags.map((_, site) => site);
  const METRICS = {
    bytes: { of: (s) => sites.bytes[s], text: bytes, words: 'outstanding bytes' },
    count: { of: (s) => sites.count[s], text: count, words: 'outstanding count' },
    allocated: { of: (s) => sites.allocated[s], text: bytes, words: 'allocated bytes' },
    growth: { of: (s) => sites.growth[s] ?? 0, text: signed, words: data.growth ?? 'growth' },
  };

  // ---- stacks: nodes in preorder, root first; lines apart in `parent`, together in `box` ----
  const parent = new Int32Array(data.stacks.frame.length + 1);
  const box = new Int32Array(parent.length);
  const boxes = { parent: [-1], frame: [-1], next: [-1], first: [-1], last: [-1], depth: [0] };
  {
    const known = new Map(), labels = new Map();
    const label = frames.name.map((name, frame) => {
      const key = name + ' ' + frames.kind[frame];
      if (!labels.has(key)) labels.set(key, labels.size);
      return labels.get(key);
    });
    for (let i = 1; i < parent.length; i++) {
      let up = i - 1;
      for (let steps = data.stacks.up[i - 1]; steps > 0; steps--) up = parent[up];
      parent[i] = up;
      const frame = data.stacks.frame[i - 1];
      const key = box[up] * labels.size + label[frame];
      if (!known.has(key)) {
        const made = boxes.parent.length, above = box[up];
        known.set(key, made);
        boxes.parent.push(above); boxes.frame.push(frame); boxes.depth.push(boxes.depth[above] + 1);
        boxes.next.push(-1); boxes.first.push(-1); boxes.last.push(-1);
        if (boxes.last[above] < 0) boxes.first[above] = made; else boxes.next[boxes.last[above]] = made;
        boxes.last[above] = made;
      }
      box[i] = known.get(key);
    }
  }
  const boxName = (b) => (b === 0 ? 'all' : names[frames.name[boxes.frame[b]]]);

  // A Java method without its package.
  const shortName = (b) => {
    const frame = boxes.frame[b];
    const java = b > 0 && frames.module[frame] < 0;
    return java ? boxName(b).split('.').slice(-2).join('.') : boxName(b);
  };

  // ---- what is looked at; it stands in the address, so that a view can be linked ----
  const start = { m: 'bytes', k: '', q: '', s: 'bytes', d: 'down', z: 0, o: -1, n: 100 };
  const view = { ...start };
  const readAddress = () => {
    Object.assign(view, start);
    for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
      if (key in start) view[key] = typeof start[key] === 'number' ? Number(value) || 0 : value;
    }
    if (!(view.m in METRICS) || (view.m === 'growth' && !data.growth)) view.m = start.m;
    if (!data.kinds.includes(view.k)) view.k = start.k;
    if (!(view.s in ORDER)) view.s = start.s;
    if (view.z < 0 || view.z >= boxes.parent.length) view.z = 0;
  };
  const writeAddress = () => {
    const set = Object.keys(start).filter((key) => view[key] !== start[key]);
    const hash = new URLSearchParams(set.map((key) => [key, view[key]])).toString();
    history.replaceState(null, '', hash ? '#' + hash : location.pathname + location.search);
  };

  const ofKind = (site) => (view.k === '' ? has(site, COUNTS) : data.kinds[sites.kind[site]] === view.k);
  const values = () => {
    const metric = METRICS[view.m], sums = new Float64Array(boxes.parent.length);
    let shrunk = 0, rough = false;
    for (const site of all) {
      if (!ofKind(site)) continue;
      rough ||= has(site, view.m === 'count' ? COUNT_ESTIMATED : ESTIMATED);
      const value = metric.of(site);
      if (value > 0) sums[box[sites.leaf[site]]] += value; else shrunk += value;
    }
    for (let b = sums.length - 1; b > 0; b--) sums[boxes.parent[b]] += sums[b];
    return { sums, shrunk, sign: rough ? '~' : '' };
  };

  // ---- the flame graph ----
  const ROW = 18, MOST = 6000;
  const flame = $('flame');
  let drawn = new Map(), held = new Float64Array(1);
  const matches = (text) => view.q !== '' && text.toLowerCase().includes(view.q.toLowerCase());

  const boxText = (b) => {
    const frame = boxes.frame[b], metric = METRICS[view.m];
    const module = b > 0 && frames.module[frame] >= 0 ? ' in ' + names[frames.module[frame]] : '';
    const kind = b > 0 ? ` [${data.frameKinds[frames.kind[frame]]}]` : '';
    return `${boxName(b)}${module}${kind}: ${metric.text(held[b])}, ${share(held[b], held[0])}`;
  };
  const placeBox = (b, x, width, into) => {
    const made = element('div', 'f k' + (b === 0 ? 'all' : frames.kind[boxes.frame[b]]));
    const room = width * flame.clientWidth / 6.5;
    if (room > 3) made.textContent = boxName(b).length > room ? shortName(b) : boxName(b);
    if (matches(boxName(b))) made.classList.add('hit');
    made.style.left = x * 100 + '%';
    made.style.width = width * 100 + '%';
    made.style.top = boxes.depth[b] * ROW + 'px';
    made.title = boxText(b);
    made.tabIndex = -1;
    made.setAttribute('role', 'treeitem');
    made.setAttribute('aria-level', boxes.depth[b] + 1);
    made.setAttribute('aria-label', boxText(b));
    made.dataset.box = b;
    into.append(made);
    drawn.set(b, made);
  };
  const drawFlame = () => {
    const { sums, shrunk, sign } = values();
    held = sums;
    if (held[view.z] <= 0) view.z = 0;
    const into = document.createDocumentFragment(), thin = 1 / Math.max(flame.clientWidth, 300);
    drawn = new Map();
    for (let b = boxes.parent[view.z]; b >= 0; b = boxes.parent[b]) placeBox(b, 0, 1, into);
    const todo = held[view.z] > 0 ? [[view.z, 0]] : [];
    let depth = 0;
    while (todo.length > 0 && drawn.size < MOST) {
      const [b, x] = todo.pop();
      placeBox(b, x, held[b] / held[view.z], into);
      depth = Math.max(depth, boxes.depth[b]);
      let at = x;
      for (let c = boxes.first[b]; c >= 0; c = boxes.next[c]) {
        const width = held[c] / held[view.z];
        if (width >= thin) todo.push([c, at]);
        at += width;
      }
    }
    flame.replaceChildren(into);
    flame.style.height = (depth + 1) * ROW + 'px';
    flame.classList.toggle('searched', view.q !== '');
    const focus = drawn.get(view.z);
    if (focus) focus.tabIndex = 0;
    say(shrunk, sign);
  };
  const say = (shrunk, sign) => {
    const metric = METRICS[view.m];
    let text = `${metric.words}, ${view.k || 'all kinds, each byte once'}: ${sign}${metric.text(held[0])}`;
    if (view.m === 'growth' && shrunk < 0) text += `; what shrank is not drawn: ${signed(shrunk)}`;
    if (view.z !== 0) text += `; zoomed to ${boxText(view.z)}`;
    if (view.q !== '') {
      let found = 0;
      const inside = new Uint8Array(boxes.parent.length);
      for (let b = 1; b < inside.length; b++) {
        inside[b] = inside[boxes.parent[b]];
        if (!inside[b] && matches(boxName(b))) { inside[b] = 1; found += held[b]; }
      }
      text += `; “${view.q}” is on the stacks of ${sign}${metric.text(found)}, ${share(found, held[0])}`;
    }
    $('flame-says').textContent = text;
  };
  const zoom = (b) => {
    view.z = b;
    drawFlame();
    writeAddress();
    drawn.get(view.z)?.focus({ preventScroll: true });
  };
  const goTo = (b) => {
    const made = drawn.get(b);
    if (made) { made.focus(); made.scrollIntoView({ block: 'nearest' }); }
  };
  const shown = (b) => drawn.has(b);
  const childOf = (b) => {
    let best = -1;
    for (let c = boxes.first[b]; c >= 0; c = boxes.next[c]) {
      if (shown(c) && (best < 0 || held[c] > held[best])) best = c;
    }
    return best;
  };
  const besides = (b, step) => {
    const above = boxes.parent[b], row = [];
    if (above < 0) return b;
    for (let c = boxes.first[above]; c >= 0; c = boxes.next[c]) if (shown(c)) row.push(c);
    return row[row.indexOf(b) + step] ?? b;
  };
  flame.addEventListener('click', (event) => {
    const made = event.target.closest('[data-box]');
    if (made) zoom(Number(made.dataset.box));
  });
  flame.addEventListener('keydown', (event) => {
    const made = event.target.closest('[data-box]');
    if (!made) return;
    const b = Number(made.dataset.box);
    const keys = {
      ArrowDown: () => goTo(childOf(b)), ArrowUp: () => goTo(boxes.parent[b]),
      ArrowLeft: () => goTo(besides(b, -1)), ArrowRight: () => goTo(besides(b, 1)),
      Enter: () => zoom(b), ' ': () => zoom(b), Escape: () => zoom(0), Home: () => goTo(0),
    };
    if (keys[event.key]) { keys[event.key](); event.preventDefault(); }
  });
  for (const name of ['mouseover', 'focusin']) {
    flame.addEventListener(name, (event) => {
      const made = event.target.closest('[data-box]');
      if (made) $('flame-at').textContent = boxText(Number(made.dataset.box));
    });
  }

  // ---- the table of sites ----
  const nameAt = (index) => (index >= 0 ? names[index] : '');
  const ORDER = {
    kind: (s) => data.kinds[sites.kind[s]],
    bytes: (s) => (has(s, COUNTS) || view.k !== '' || data.kinds[sites.kind[s]] !== 'mmap' ? 0 : -1e18) + sites.bytes[s],
    count: (s) => sites.count[s],
    allocated: (s) => sites.allocated[s],
    growth: (s) => sites.growth[s] ?? -Infinity,
    oldest: (s) => sites.oldest[s],
    trend: (s) => nameAt(sites.trend[s]),
    caller: (s) => nameAt(sites.caller[s]),
  };
  const stackOf = (site) => {
    const stack = [];
    for (let i = sites.leaf[site]; i > 0; i = parent[i]) stack.push(data.stacks.frame[i - 1]);
    return stack;
  };
  const foundFrames = () => {
    const found = new Uint8Array(parent.length);
    for (let i = 1; i < found.length; i++) {
      found[i] = found[parent[i]] || matches(names[frames.name[data.stacks.frame[i - 1]]]) ? 1 : 0;
    }
    return found;
  };
  const listed = () => {
    const found = view.q === '' ? null : foundFrames();
    const passes = (s) => (view.k === '' ? !has(s, STANDS_FOR) : data.kinds[sites.kind[s]] === view.k)
      && (!found || found[sites.leaf[s]] || matches(nameAt(sites.caller[s])));
    const order = ORDER[view.s], sign = view.d === 'up' ? 1 : -1;
    return all.filter(passes).sort((a, b) => {
      const [x, y] = [order(a), order(b)];
      return x === y ? a - b : sign * (x < y ? -1 : 1);
    });
  };
  const mark = (site, text, flag) => (has(site, flag) ? '~' : '') + text;
  const number = (text) => element('td', 'n', text);
  const callerCell = (s) => {
    const opener = element('button', 'opener', nameAt(sites.caller[s]));
    opener.setAttribute('aria-expanded', view.o === s);
    opener.dataset.site = s;
    const cell = element('td', 'caller');
    cell.append(opener);
    return cell;
  };
  const cells = (s) => [
    number(mark(s, bytes(sites.bytes[s]), ESTIMATED)),
    number(mark(s, count(sites.count[s]), COUNT_ESTIMATED)),
    element('td', '', data.kinds[sites.kind[s]]),
    callerCell(s),
    number(sites.growth[s] === null ? '' : mark(s, signed(sites.growth[s]), ESTIMATED)),
    element('td', '', nameAt(sites.trend[s])),
    number(sites.count[s] > 0 ? seconds(sites.oldest[s]) : ''),
    number(mark(s, bytes(sites.allocated[s]), ESTIMATED)),
  ];
  const frameLine = (frame) => {
    const line = element('li', 'k' + frames.kind[frame]);
    const name = element('span', 'name', names[frames.name[frame]]);
    if (matches(name.textContent)) name.classList.add('hit');
    const place = [
      `[${data.frameKinds[frames.kind[frame]]}]`, nameAt(frames.module[frame]),
      nameAt(frames.file[frame]) + (frames.line[frame] > 0 ? ':' + frames.line[frame] : ''),
    ];
    line.append(name, ' ', element('span', 'faint', place.filter(Boolean).join(' ')));
    return line;
  };
  const details = (s) => {
    const cell = element('td');
    cell.colSpan = 8;
    const facts = [
      sites.count[s] > 0
        ? `outstanding for ${seconds(sites.newest[s])} (newest) to ${seconds(sites.oldest[s])} (oldest)`
        : 'nothing outstanding',
      `in the window: ${mark(s, bytes(sites.allocated[s]), ESTIMATED)} in `
        + `${mark(s, count(sites.made[s]), COUNT_ESTIMATED)} allocated, `
        + `${mark(s, count(sites.freed[s]), COUNT_ESTIMATED)} freed`,
    ];
    if (sites.cleaner[s] > 0) facts.push(`${count(sites.cleaner[s])} ended on the cleaner thread`);
    if (sites.evidence[s] >= 0) facts.push(nameAt(sites.evidence[s]));
    facts.push(...sites.notes[s].map(nameAt));
    if (sites.thread[s] >= 0) facts.push('thread ' + nameAt(sites.thread[s]));
    for (const fact of facts) cell.append(element('p', 'fact', fact));
    const stack = element('ol', 'stack');
    stack.append(...stackOf(s).map(frameLine));
    cell.append(stack);
    const row = element('tr', 'details');
    row.append(cell);
    return row;
  };
  const siteRow = (s) => {
    const row = element('tr', has(s, COUNTS) || has(s, STREAM) ? '' : 'elsewhere');
    row.append(...cells(s));
    return row;
  };
  const drawTable = () => {
    const found = listed(), into = document.createDocumentFragment();
    for (const site of found.slice(0, view.n)) {
      into.append(siteRow(site));
      if (view.o === site) into.append(details(site));
    }
    $('sites').replaceChildren(into);
    const rest = found.length - Math.min(view.n, found.length);
    $('more').hidden = rest === 0;
    $('more').textContent = `Show more (${count(rest)} are left)`;
    $('sites-say').textContent = `${count(found.length)} of ${count(all.length)} sites`;
    for (const head of document.querySelectorAll('th[data-sort]')) {
      const sorted = head.dataset.sort === view.s;
      head.setAttribute('aria-sort', !sorted ? 'none' : view.d === 'up' ? 'ascending' : 'descending');
    }
  };
  $('sites').addEventListener('click', (event) => {
    const opener = event.target.closest('button.opener');
    if (!opener) return;
    const site = Number(opener.dataset.site);
    view.o = view.o === site ? -1 : site;
    drawTable();
    writeAddress();
    document.querySelector(`button.opener[data-site="${site}"]`)?.focus();
  });
  $('head').addEventListener('click', (event) => {
    const by = event.target.closest('th')?.dataset.sort;
    if (!by) return;
    const first = by === 'caller' || by === 'kind' || by === 'trend' ? 'up' : 'down';
    view.d = view.s !== by ? first : view.d === 'up' ? 'down' : 'up';
    view.s = by;
    drawTable();
    writeAddress();
  });
  $('more').addEventListener('click', () => { view.n += 400; drawTable(); writeAddress(); });

  // ---- the controls ----
  const draw = () => { drawFlame(); drawTable(); writeAddress(); };
  const showControls = () => {
    $('metric').value = view.m;
    $('kind').value = view.k;
    $('search').value = view.q;
  };
  for (const [id, key] of [['metric', 'm'], ['kind', 'k']]) {
    $(id).addEventListener('change', () => { view[key] = $(id).value; draw(); });
  }
  $('search').addEventListener('input', () => { view.q = $('search').value.trim(); draw(); });
  $('reset').addEventListener('click', () => { Object.assign(view, start); showControls(); draw(); });
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest?.('input, select, textarea');
    if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) { $('search').focus(); event.preventDefault(); }
    if (event.key === 'Escape' && event.target === $('search')) { view.q = ''; showControls(); draw(); }
  });
  window.addEventListener('hashchange', () => { readAddress(); showControls(); drawFlame(); drawTable(); });
  window.addEventListener('resize', drawFlame);
  readAddress();
  showControls();
  draw();
  document.documentElement.classList.add('ready');
})();
