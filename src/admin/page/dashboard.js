// The dashboard: asks the admin listener every two seconds, and shows what changed in between.

const PERIOD_MS = 2000;
const KEPT = 150; // five minutes
const TROUBLES = {
  websocket_connection_errors_total: 'connection ended',
  websocket_rejected_total: 'connection turned away',
  websocket_refusals_total: 'frame refused',
  websocket_auth_failures_total: 'token refused',
  websocket_relay_dropped_total: 'dropped from Redis',
};

const byId = (id) => document.getElementById(id);
let token = '';
let last;
let first;
const kept = [];

async function ask(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  return fetch(path, { headers, cache: 'no-store', signal: AbortSignal.timeout(PERIOD_MS * 2) });
}

/** Prometheus text as name -> [{ labels, value }]. */
function parse(text) {
  const series = new Map();
  for (const line of text.split('\n')) {
    const found = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries(
      [...(found[2] ?? '').matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map((it) => [it[1], it[2]]),
    );
    if (!series.has(found[1])) series.set(found[1], []);
    series.get(found[1]).push({ labels, value: Number(found[3]) });
  }
  return series;
}

const rows = (sample, name) => sample.series.get(name) ?? [];
const sum = (sample, name) => rows(sample, name).reduce((all, it) => all + it.value, 0);
const ofCore = (sample, name, core) =>
  rows(sample, name).find((it) => it.labels.core === core)?.value ?? 0;

/** What a counter gained per second since the sample before. */
const rate = (now, before, name) =>
  Math.max(0, sum(now, name) - sum(before, name)) / ((now.at - before.at) / 1000);

/** A quantile of what a histogram took since the sample before: the bound of its bucket. */
function quantile(now, before, name, q, core) {
  const buckets = (sample) => rows(sample, `${name}_bucket`)
    .filter((it) => core === undefined || it.labels.core === core);
  const old = new Map(buckets(before).map((it) => [it.labels.le, it.value]));
  const gained = buckets(now)
    .map((it) => ({ le: it.labels.le, count: it.value - (old.get(it.labels.le) ?? 0) }));
  const all = gained.find((it) => it.le === '+Inf')?.count ?? 0;
  if (all <= 0) return undefined;
  const bucket = gained.find((it) => q * all <= it.count);
  return bucket.le === '+Inf' ? Infinity : Number(bucket.le);
}

const number = (value) => value >= 10 || Number.isInteger(value)
  ? Math.round(value).toLocaleString('en') : value.toFixed(1);
const bytes = (value) => value < 10_000 ? `${number(value)} B`
  : value < 1e7 ? `${number(value / 1e3)} kB` : `${number(value / 1e6)} MB`;
const time = (seconds) => seconds === undefined ? '–' : seconds === Infinity ? '> 10 s'
  : seconds < 1e-3 ? `≤ ${number(seconds * 1e6)} µs`
    : seconds < 1 ? `≤ ${number(seconds * 1e3)} ms` : `≤ ${number(seconds)} s`;

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function pairs(id, entries) {
  byId(id).replaceChildren(...entries.map(([name, value]) => {
    const pair = document.createElement('div');
    pair.append(element('dt', name), element('dd', value));
    return pair;
  }));
}

function table(id, lines) {
  byId(id).replaceChildren(...lines.map((cells) => {
    const row = document.createElement('tr');
    row.append(...cells.map((it) => element('td', it)));
    return row;
  }));
}

/** Lines over the kept samples; `read` gives one value a line. */
function chart(id, read, show, classes) {
  const svg = byId(id);
  const [width, height] = [svg.clientWidth || 300, svg.clientHeight || 110];
  const values = kept.map(read);
  const finite = values.flat().filter(Number.isFinite);
  const top = Math.max(...finite, 0) || 1;
  const x = (index) => width - ((kept.length - 1 - index) * width) / (KEPT - 1);
  const y = (value) => height - (Math.min(value, top) / top) * (height - 18);
  const make = (name, attributes, text) => {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };
  const lines = classes.map((className, line) => {
    let isDown = false;
    const d = values.map((it, index) => {
      if (!Number.isFinite(it[line])) {
        isDown = false;
        return '';
      }
      const step = `${isDown ? 'L' : 'M'}${x(index).toFixed(1)} ${y(it[line]).toFixed(1)}`;
      isDown = true;
      return step;
    }).join('');
    return make('path', { d, class: className });
  });
  svg.replaceChildren(
    make('line', { x1: 0, x2: width, y1: height, y2: height }),
    make('line', { x1: 0, x2: width, y1: 18, y2: 18 }),
    make('text', { x: 0, y: 13 }, finite.length ? show(top) : 'nothing yet'),
    ...lines,
  );
}

function show(now, before) {
  const { health } = now;
  const details = health.details ?? {};
  byId('status').textContent = health.status;
  byId('status').className = `status ${health.status}`;
  byId('process').textContent =
    `version ${details.version ?? '?'} · ${details.driver ?? '?'} · Linux ${details.kernel ?? '?'}`;

  const cores = rows(now, 'websocket_connections_active').map((it) => it.labels.core);
  const lagOf = (core) => quantile(now, before, 'websocket_shard_lag_seconds', 0.99, core);
  const processing = (q) => quantile(now, before, 'websocket_message_processing_time_seconds', q);
  const lags = cores.map(lagOf).filter((it) => it !== undefined);
  const point = {
    connections: sum(now, 'websocket_connections_active'),
    received: rate(now, before, 'websocket_messages_received_total'),
    sent: rate(now, before, 'websocket_messages_sent_total'),
    p50: processing(0.5),
    p99: processing(0.99),
    lag: lags.length ? Math.max(...lags) : undefined,
  };
  kept.push(point);
  if (KEPT < kept.length) kept.shift();

  pairs('tiles', [
    ['connections', number(point.connections)],
    ['subscriptions', number(sum(now, 'websocket_subscriptions_active'))],
    ['messages in /s', number(point.received)],
    ['messages out /s', number(point.sent)],
    ['processing p50', time(point.p50)],
    ['processing p99', time(point.p99)],
    ['waits in outboxes', bytes(sum(now, 'websocket_outbox_bytes'))],
    ['loop lag p99', time(point.lag)],
    ['bytes in /s', bytes(rate(now, before, 'websocket_bytes_received_total'))],
    ['bytes out /s', bytes(rate(now, before, 'websocket_bytes_sent_total'))],
    ['handshakes /s', number(rate(now, before, 'websocket_handshakes_total'))],
    ['slow consumers', number(sum(now, 'websocket_slow_consumers_total'))],
  ]);
  chart('chart-connections', (it) => [it.connections], number, ['in']);
  chart('chart-rates', (it) => [it.received, it.sent], number, ['in', 'out']);
  chart('chart-latency', (it) => [it.p50, it.p99], time, ['in', 'out']);
  chart('chart-lag', (it) => [it.lag], time, ['out']);

  table('cores', cores.map((core) => [
    core,
    number(ofCore(now, 'websocket_connections_active', core)),
    `${(ofCore(now, 'websocket_shard_busy_ratio', core) * 100).toFixed(1)} %`,
    time(lagOf(core)),
    ofCore(now, 'websocket_relay_up', core) ? 'up' : 'away',
  ]));

  const redis = health.components?.redis;
  const parts = [['relay', redis ? `${redis.status}, ${redis.details?.mode ?? ''}` : '–']];
  if (redis && redis.details?.mode !== 'embedded') {
    parts.push(
      ['round trip p99', time(quantile(now, before, 'websocket_relay_round_trip_seconds', 0.99))],
      ['published /s', number(rate(now, before, 'websocket_relay_published_total'))],
      ['received /s', number(rate(now, before, 'websocket_relay_received_total'))],
      ['waits for Redis', bytes(sum(now, 'websocket_relay_outbox_bytes'))],
      ['reconnects', number(sum(now, 'websocket_relay_reconnects_total'))],
      ['away in all', `${number(sum(now, 'websocket_relay_gap_seconds_total'))} s`],
    );
  }
  parts.push(['history', health.components?.history?.status ?? 'not kept']);
  const drain = [...now.series.keys()].filter((it) => it.startsWith('websocket_drain_'));
  parts.push(['drain', health.status === 'OUT_OF_SERVICE' ? 'under way, or not yet serving' : 'not begun']);
  for (const name of drain) {
    parts.push([name.slice('websocket_'.length).replaceAll('_', ' '), number(sum(now, name))]);
  }
  pairs('parts', parts);

  const troubles = Object.entries(TROUBLES).flatMap(([name, what]) => rows(now, name).map((it) => {
    const old = rows(first, name).find((other) => other.labels.reason === it.labels.reason);
    return [what, it.labels.reason, it.value - (old?.value ?? 0)];
  })).filter((it) => 0 < it[2]).sort((a, b) => b[2] - a[2]);
  if (troubles.length) {
    table('troubles', troubles.map(([what, why, count]) => [what, why, number(count)]));
  }
}

async function showDestinations() {
  const answer = await ask('/api/destinations?limit=10');
  byId('destinations-section').hidden = !answer.ok;
  if (!answer.ok) return answer.status;
  const { destinations = [] } = await answer.json();
  table('destinations', destinations.map((it) => [it.destination, number(it.subscriptions)]));
  return answer.status;
}

async function turn() {
  try {
    const [health, metrics] = await Promise.all([ask('/actuator/health'), ask('/metrics')]);
    const destinations = await showDestinations();
    byId('ask').hidden = metrics.status !== 401 && destinations !== 401;
    if (metrics.ok) {
      const series = parse(await metrics.text());
      const now = { at: performance.now(), health: await health.json(), series };
      first ??= now;
      if (last) show(now, last);
      last = now;
    }
  } catch {
    byId('status').textContent = 'no answer';
    byId('status').className = 'status lost';
  }
  setTimeout(turn, PERIOD_MS);
}

byId('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  token = byId('token').value;
  byId('token').value = '';
});
turn();
