// Draws the plots of a report from the records in the page. No network, no dependency but uPlot.
"use strict";

const records = JSON.parse(document.getElementById("records").textContent);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (index) => css(`--s${index % 9}`);
const make = (tag, attributes = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
};

// A figure with as many digits as it deserves.
function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const digits = Number.isInteger(value) || size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
const short = (value) => {
  const size = Math.abs(value);
  if (size >= 1e9) return `${+(value / 1e9).toPrecision(3)} G`;
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)} k`;
  return `${+value.toPrecision(4)}`;
};

let charts = [];
// A plot: `series` are { label, values, index, dash, band: [low, high] }.
function plot(parent, { title, caption, x, xLabel, yLabel, series, xLog, yLog, xTicks, points, zero, splits }) {
  const shown = series.filter((it) => it.values.some((value) => value !== null && value !== undefined));
  if (shown.length === 0 || x.length < 2) return;
  const holder = make("div");
  parent.append(make("figure", {}, make("h3", { textContent: title }), holder,
    make("figcaption", { textContent: caption ?? "" })));
  const axis = () => ({ stroke: () => css("--dim"), grid: { stroke: () => css("--line"), width: 1 },
    ticks: { stroke: () => css("--line"), width: 1 }, font: "12px system-ui", labelFont: "12px system-ui" });
  const data = [x];
  const options = [{ label: xLabel, value: (_, value) => (value === null ? "–" : (xTicks ?? number)(value)) }];
  const bands = [];
  for (const it of shown) {
    const stroke = () => colour(it.index);
    options.push({ label: it.label, stroke, width: 2, dash: it.dash, points: { show: points ?? false, size: 7, fill: stroke },
      value: (_, value) => number(value), spanGaps: true });
    data.push(it.values);
    if (it.band) {
      const [low, high] = it.band;
      const edge = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: true };
      options.push({ ...edge, label: `${it.label}, most`, class: "u-off-legend" }, { ...edge, label: `${it.label}, least` });
      bands.push({ series: [options.length - 2, options.length - 1], fill: () => `${colour(it.index)}33` });
      data.push(high, low);
    }
  }
  const positive = data.slice(1).flat().filter((value) => value > 0);
  const yScale = yLog && positive.length
    ? { distr: 3, range: [10 ** Math.floor(Math.log10(Math.min(...positive))), 10 ** Math.ceil(Math.log10(Math.max(...positive)))] }
    : { range: (_, low, high) => (zero === false ? [low, high] : [0, (high || 1) * 1.08]) };
  const chart = new uPlot({
    width: Math.max(280, holder.clientWidth || 520), height: 280, bands, series: options,
    legend: { live: true }, cursor: { focus: { prox: 24 } }, focus: { alpha: 0.35 },
    scales: { x: xLog ? { time: false, distr: 3, range: [x[0], x[x.length - 1]] } : { time: false }, y: yScale },
    axes: [
      { ...axis(), ...(splits ? { splits: () => splits, filter: (_, all) => all } : {}), label: xLabel, values: (_, ticks) => ticks.map((tick) => (tick === null ? null : (xTicks ?? short)(tick))) },
      { ...axis(), label: yLabel, size: 62, values: (_, ticks) => ticks.map((tick) => (tick === null ? null : short(tick))) },
    ],
  }, data, holder);
  // The edges of a band need no row in the legend.
  const rows = holder.querySelectorAll(".u-legend .u-series");
  options.forEach((it, index) => { if (/, (most|least)$/.test(it.label) && rows[index]) rows[index].style.display = "none"; });
  charts.push({ chart, holder });
}

const name = (record, run) => {
  const parts = [];
  if (record.subjects.length > 1) parts.push(record.subjects[run.subject].name);
  if (record.cases.length > 1) parts.push(record.cases[run.case].name);
  return parts.join(", ") || record.subjects[0].name;
};
const median = (values) => {
  const sorted = values.filter((it) => it !== null && it !== undefined).sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};
const title = (row) => `${row.metric}${row.unit ? `, ${row.unit}` : ""}`;
const metrics = (record) => [...new Map(record.rows.map((row) => [title(row), row])).values()];

// Bars with the spread of the rounds, for everything that is compared.
function bars(parent, record) {
  const isCompared = record.subjects.length > 1 || record.cases.length > 1;
  if (!isCompared || record.cases.some((it) => it.axes.length)) return;
  const groups = new Map();
  for (const row of record.rows.filter((it) => it.better !== "neither")) {
    const key = `${record.cases.length > 1 && record.subjects.length > 1 ? `${record.cases[row.case].name}: ` : ""}${title(row)}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  const holder = make("div", { className: "plots" });
  for (const [key, rows] of groups) {
    if (rows.length < 2) continue;
    const top = Math.max(...rows.map((row) => row.spread.max), 1e-9);
    const grid = make("div", { className: "bars" });
    rows.forEach((row) => {
      const isBySubject = record.subjects.length > 1;
      const label = isBySubject ? record.subjects[row.subject].name : record.cases[row.case].name;
      const { median: middle, min, max } = row.spread;
      const percent = (value) => `${Math.max(0, (100 * value) / top)}%`;
      const fill = make("div", { className: "fill" });
      fill.style.width = percent(middle);
      fill.style.background = `var(--s${(isBySubject ? row.subject : row.case) % 9})`;
      const track = make("div", { className: "track", title: `${label}: ${number(middle)} (${number(min)} … ${number(max)})` }, fill);
      if (max > min) {
        const spread = make("div", { className: "spread" });
        spread.style.left = percent(min);
        spread.style.width = percent(max - min);
        track.append(spread);
      }
      const ratio = row.ratio ?? row.case_ratio;
      const value = `${number(middle)}${ratio ? `  (${ratio.median.toFixed(2)} ×)` : ""}`;
      grid.append(make("div", { textContent: label }), track, make("div", { className: "value", textContent: value }));
    });
    const better = rows[0].better === "higher" ? "more is better" : "less is better";
    holder.append(make("figure", {}, make("h3", { textContent: key }), grid, make("figcaption", { textContent: better })));
  }
  if (holder.children.length) parent.append(make("h2", { textContent: "Side by side" }), holder);
}

// Figures against size.
function sweep(parent, record) {
  const varied = record.cases.filter((it) => it.axes.length);
  if (varied.length < 2) return;
  const axis = varied[0].axes[0][0];
  const x = [...new Set(varied.map((it) => it.axes[0][1]))].sort((a, b) => a - b);
  if (x.length < 2) return;
  const holder = make("div", { className: "plots" });
  parent.append(make("h2", { textContent: `Against ${axis}` }),
    make("p", { className: "dim", textContent: "A cost of one unit that does not depend on size is a level line; what rises is not linear." }), holder);
  for (const metric of metrics(record)) {
    const lines = new Map();
    for (const row of record.rows.filter((it) => title(it) === title(metric))) {
      const { axes } = record.cases[row.case];
      if (!axes.length) continue;
      const others = axes.slice(1).map(([key, value]) => `${key}=${value}`);
      const label = [record.subjects[row.subject].name, ...others].join(", ");
      const line = lines.get(label) ?? { label, index: lines.size, values: x.map(() => null), band: [x.map(() => null), x.map(() => null)] };
      const place = x.indexOf(axes[0][1]);
      line.values[place] = row.spread.median;
      line.band[0][place] = row.spread.min;
      line.band[1][place] = row.spread.max;
      lines.set(label, line);
    }
    const [low, high] = [x[0], x[x.length - 1]];
    plot(holder, { title: title(metric), x, xLabel: axis, series: [...lines.values()], xLog: low > 0 && high / low >= 20, splits: low > 0 && high / low >= 20 ? x : undefined, points: true,
      caption: metric.better === "neither" ? "" : metric.better === "higher" ? "more is better" : "less is better; the band is the spread of the rounds" });
  }
}

// Latency curves: quantiles on an axis of nines, the median of the rounds.
const nines = (x) => {
  const above = 1 / x;
  const digits = Math.max(0, Math.round(Math.log10(x)) - 2);
  return x < 1.2 ? "min" : `${(100 * (1 - above)).toFixed(x < 50 ? 0 : digits)} %`;
};
function curves(parent, record, which, heading, caption) {
  // Of a sweep only the largest size: dozens of lines tell nothing.
  const sizes = record.cases.map((it) => it.axes[0]?.[1]);
  const largest = Math.max(...sizes.map((it) => it ?? -Infinity));
  const runs = record.runs.filter((run) => run.outcome[which] && (sizes[run.case] === undefined || sizes[run.case] === largest));
  // With several of both, cases stand apart and each subject keeps its colour.
  const isApart = record.subjects.length > 1 && new Set(runs.map((run) => run.case)).size > 1;
  const places = isApart ? record.cases.map((_, index) => index) : [null];
  for (const place of places) {
    const groups = new Map();
    for (const run of runs.filter((it) => place === null || it.case === place)) {
      const label = isApart ? record.subjects[run.subject].name : name(record, run);
      const index = record.subjects.length > 1 ? run.subject : run.case;
      const group = groups.get(label) ?? { label, index, rounds: [] };
      group.rounds.push(run.outcome[which]);
      groups.set(label, group);
    }
    curve(parent, [...groups.values()], isApart ? `${record.cases[place].name}: ${heading.toLowerCase()}` : heading, caption);
  }
}
const step = (share) => Math.round(12 * Math.log10(1 / (1 - share)));
function curve(parent, groups, heading, caption) {
  if (groups.length === 0) return;
  const shares = groups.flatMap(({ rounds }) => rounds.flatMap((it) => it.curve.map(([share]) => share))).filter((it) => it < 1);
  const steps = [...new Set(shares.map(step))].sort((a, b) => a - b);
  const x = steps.map((it) => 10 ** (it / 12));
  const series = groups.map(({ label, index, rounds }) => {
    const values = steps.map((at) => median(rounds.map(({ curve }) => {
      const found = curve.find(([share]) => share < 1 && step(share) === at);
      return found ? found[1] : null;
    })));
    return { label, index, values };
  });
  const most = x[x.length - 1];
  plot(parent, { title: heading, caption, x, xLabel: "share of all", yLabel: "µs", series, xLog: true, yLog: true, xTicks: nines,
    splits: [1, 2, 10, 100, 1e3, 1e4, 1e5, 1e6].filter((it) => it <= most && (it !== 1 || most <= 100)) });
}

// How runs went.
function course(parent, record) {
  const runs = record.runs.filter((it) => it.outcome.series.length > 1);
  if (!runs.length) return;
  const holder = make("div", { className: "plots" });
  const options = (values, label) => values.map((value, index) => make("option", { value: index, textContent: label(value) }));
  const cases = make("select", {}, ...options(record.cases, (it) => it.name));
  const rounds = [...new Set(runs.map((it) => it.round))];
  const round = make("select", {}, ...options(rounds, (it) => `round ${it}`));
  const choice = make("div", { className: "choice" });
  if (record.cases.length > 1) choice.append(cases);
  if (rounds.length > 1) choice.append(round);
  parent.append(make("h2", { textContent: "From second to second" }), choice, holder);
  const draw = () => {
    charts = charts.filter((it) => !holder.contains(it.holder) || (it.chart.destroy(), false));
    holder.replaceChildren();
    const chosen = runs.filter((it) => it.case === +cases.value && it.round === rounds[+round.value]);
    const x = [...new Set(chosen.flatMap((it) => it.outcome.series.map((slice) => slice.at)))].sort((a, b) => a - b);
    const lines = (...fields) => chosen.flatMap((run) => fields.map(([field, label, scale], place) => {
      const by = new Map(run.outcome.series.map((slice) => [slice.at, slice]));
      const subject = record.subjects.length > 1 ? record.subjects[run.subject].name : "";
      const values = x.map((at) => { const value = by.get(at)?.[field]; return value === null || value === undefined ? null : value * (scale ?? 1); });
      return { label: [subject, label].filter(Boolean).join(", "), values,
        index: record.subjects.length > 1 ? run.subject : place, dash: record.subjects.length > 1 && place ? [4 * place, 4] : undefined };
    }));
    const xLabel = "seconds";
    plot(holder, { title: "Latency, µs", x, xLabel, yLog: true, series: record.subjects.length > 1 ? lines(["p99_us", "p99"])
      : lines(["p50_us", "p50"], ["p99_us", "p99"], ["max_us", "max"]), caption: "from when a message was due" });
    plot(holder, { title: "Deliveries in a second", x, xLabel, series: lines(["delivery_rate", "deliveries"]) });
    plot(holder, { title: "CPU, % of one", x, xLabel, series: lines(["server_cpu", "server", 100], ["generator_cpu", "generator", 100]) });
    plot(holder, { title: "Resident memory of the server, MB", x, xLabel, series: lines(["rss_bytes", "RSS", 1e-6]), zero: true });
    plot(holder, { title: "Open connections", x, xLabel, series: lines(["open", "open"], ["troubles", "troubles"]) });
  };
  cases.onchange = round.onchange = draw;
  draw();
}

function draw() {
  charts.forEach(({ chart }) => chart.destroy());
  charts = [];
  records.forEach((record, index) => {
    const parent = document.getElementById(`plots-${index}`);
    parent.replaceChildren();
    bars(parent, record);
    sweep(parent, record);
    const holder = make("div", { className: "plots" });
    const head = make("h2", { textContent: "How long it took" });
    parent.append(head, holder);
    curves(holder, record, "latency", "Latency of each delivery", "median of the rounds; at a rate corrected for coordinated omission");
    curves(holder, record, "latency_last", "Latency of the last subscriber of a batch", "median of the rounds");
    curves(holder, record, "confirmed", "Until the server confirmed a message", "median of the rounds");
    curves(holder, record, "ready", "Until a client was ready", "connect, TLS, upgrade, CONNECT, SUBSCRIBE with its receipt; of a storm from its beginning");
    curves(holder, record, "closed_after", "Until a connection was closed", "from the start of measuring");
    if (!holder.children.length) { head.remove(); holder.remove(); }
    course(parent, record);
  });
}
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
document.getElementById("theme").onclick = () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  draw();
};
let waiting;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => charts.forEach(({ chart, holder }) => chart.setSize({ width: Math.max(280, holder.clientWidth), height: 280 })), 100);
});
