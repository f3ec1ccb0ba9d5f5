// The page of a result file. `data` is what data.py wrote: every point is an index into columns.
"use strict";

const PAGE = 50; // rows of the table that are shown together
const SYMBOLS = ["circle", "square", "diamond", "triangle-down", "triangle-up", "pentagon", "cross", "x"];
const BUTTONS = [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]]; // none that sends anything
const PREFIXES = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"], [1e-12, "p"]];
const el = (id) => document.getElementById(id);

let data; // see data.py
let metricOf = {}; // name -> metric
let hidden = []; // per axis: Set of the values (their places) that the filter leaves out
let shown = []; // points that the filter leaves
let front = new Set(); // those of them on the front
let chosen = -1; // the point that was clicked
let sorted = { by: "", up: true }; // the table's order
let page = 0;
let hasWebgl;

// ---- start

async function unpack(id) {
  const packed = Uint8Array.from(atob(el(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

async function start() {
  if (typeof DecompressionStream === "undefined") {
    el("lead").textContent = "This page needs a browser of 2023 or later (Chrome 80, Firefox 113, Safari 16.4).";
    return;
  }
  const script = document.createElement("script");
  script.textContent = await unpack("packed-plotly");
  document.head.append(script);
  data = JSON.parse(await unpack("packed-data"));
  for (const metric of data.metrics) metricOf[metric.name] = metric;
  hidden = data.axes.map(() => new Set());
  sorted.by = data.objectives[0];
  buildControls();
  buildFilters();
  buildUnfit();
  await update();
  el("plot").on("plotly_click", (event) => choose(event.points[0].customdata));
  window.addEventListener("hashchange", chooseByHash);
  chooseByHash();
  document.body.dataset.ready = "yes";
}

function buildControls() {
  const usable = data.metrics.filter((metric) => metric.values.some((value) => value !== null));
  for (const [id, at] of [["x", 0], ["y", 1]]) {
    for (const metric of usable) el(id).add(new Option(metric.label, metric.name));
    el(id).value = data.objectives[at] || usable.find((metric) => metric.name !== data.objectives[0]).name;
  }
  for (const axis of data.axes) el("colour").add(new Option(axis.label, axis.key));
  el("colour").value = tellingAxis();
  for (const metric of data.metrics.filter((one) => one.sense !== 0)) {
    el("objectives").append(checkbox(metric.label, data.objectives.includes(metric.name), (on) => {
      const left = data.objectives.filter((name) => name !== metric.name);
      data.objectives = on ? [...left, metric.name] : left;
      update();
    }, metric.name));
  }
  for (const id of ["x", "y", "colour", "logx", "logy"]) el(id).addEventListener("change", update);
  el("onlyfront").addEventListener("change", () => { page = 0; table(); });
  el("previous").addEventListener("click", () => { page -= 1; table(); });
  el("next").addEventListener("click", () => { page += 1; table(); });
}

// The axis to colour by: of words where there is one, else with the fewest values.
function tellingAxis() {
  const several = data.axes.filter((axis) => axis.values.length > 1 && axis.key !== "trace");
  const rank = (axis) => (typeof axis.values[0] === "string" ? 0 : 1000) + axis.values.length;
  return (several.sort((one, other) => rank(one) - rank(other))[0] || data.axes[0]).key;
}

function buildFilters() {
  data.axes.forEach((axis, number) => {
    if (axis.values.length < 2) return;
    const box = document.createElement("fieldset");
    const legend = document.createElement("legend");
    legend.textContent = axis.label;
    box.append(legend);
    axis.values.forEach((value, at) => box.append(checkbox(String(value), true, (on) => {
      on ? hidden[number].delete(at) : hidden[number].add(at);
      update();
    }, `${axis.key}=${value}`)));
    el("axes").append(box);
  });
  el("everything").addEventListener("click", () => {
    hidden.forEach((values) => values.clear());
    el("axes").querySelectorAll("input").forEach((input) => { input.checked = true; });
    update();
  });
}

function buildUnfit() {
  if (!data.unfit.length) return;
  const list = document.createElement("ul");
  for (const [count, reason] of data.unfit.slice(0, 20)) list.append(text("li", `${count} x ${reason}`));
  const total = data.unfit.reduce((sum, [count]) => sum + count, 0);
  el("unfit").append(text("h2", `${total.toLocaleString("en")} points do not fit`), list);
  if (data.unfit.length > 20) el("unfit").append(text("p", `and ${data.unfit.length - 20} further reasons`));
}

function checkbox(label, on, changed, name) {
  const input = document.createElement("input");
  input.type = "checkbox";
  input.checked = on;
  input.name = name;
  input.addEventListener("change", () => changed(input.checked));
  const whole = document.createElement("label");
  whole.append(input, ` ${label}`);
  return whole;
}

function text(tag, content) {
  const made = document.createElement(tag);
  made.textContent = content;
  return made;
}

// ---- points, fronts and numbers

function filtered() {
  const kept = [];
  for (let at = 0; at < data.points; at++) {
    if (data.axes.every((axis, number) => !hidden[number].has(axis.index[at]))) kept.push(at);
  }
  return kept;
}

// Points that no other beats in every objective: each trace's own, unless tickets compete.
function fronts(points) {
  const columns = data.objectives.map((name) => metricOf[name]);
  if (!columns.length) return new Set();
  const traces = data.axes[0].index;
  const groups = new Map();
  for (const at of points) {
    const group = data.objectives.includes("accuracy") ? 0 : traces[at];
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push([at, columns.map((metric) => metric.sense * metric.values[at])]);
  }
  const found = new Set();
  for (const group of groups.values()) for (const at of frontOf(group)) found.add(at);
  return found;
}

// In lexicographic order a point can only be beaten by an earlier one of the front.
function frontOf(group) {
  group.sort(([, one], [, other]) => {
    const differs = one.findIndex((value, number) => value !== other[number]);
    return differs < 0 ? 0 : one[differs] - other[differs];
  });
  const leaders = [];
  for (const [at, costs] of group) {
    const beaten = leaders.some(([, leader]) =>
      leader.every((value, number) => value <= costs[number]) &&
      leader.some((value, number) => value < costs[number]));
    if (!beaten) leaders.push([at, costs]);
  }
  return leaders.map(([at]) => at);
}

function written(metric, value) {
  if (value === null) return "-";
  if (metric.name === "accuracy") return `${(100 * value).toFixed(1)} %`;
  if (!metric.unit) return Math.round(value).toLocaleString("en");
  if (metric.unit === "mm²" || metric.unit === "images/s") return `${Number(value.toPrecision(3))} ${metric.unit}`;
  return si(value, metric.unit);
}

function si(value, unit) {
  const [factor, prefix] = prefixOf(value);
  return `${Number((value / factor).toPrecision(3))} ${prefix}${unit}`;
}

function prefixOf(value) {
  if (value === 0) return [1, ""];
  const size = Number(Math.abs(value).toPrecision(3)); // 999.6 is written 1 k, not 1000
  return PREFIXES.find(([least]) => size >= least) || PREFIXES[PREFIXES.length - 1];
}

function settings(at) {
  return data.axes.filter((axis) => axis.values.length > 1).map((axis) => [axis.label, axis.values[axis.index[at]]]);
}

// ---- the picture

async function update() {
  shown = filtered();
  front = fronts(shown);
  page = 0;
  const labels = data.objectives.map((name) => metricOf[name].label).join(", ");
  el("lead").textContent =
    `${shown.length.toLocaleString("en")} of ${data.points.toLocaleString("en")} points` +
    (labels ? `; ${front.size} on the front of ${labels}` : "; choose objectives to see their front");
  Object.assign(document.body.dataset, { points: shown.length, front: front.size });
  table();
  await draw();
}

async function draw() {
  const x = metricOf[el("x").value], y = metricOf[el("y").value];
  const axis = data.axes.find((one) => one.key === el("colour").value);
  const groups = axis.values.map(() => []);
  for (const at of shown) groups[axis.index[at]].push(at);
  const kind = webgl() ? "scattergl" : "scatter"; // without WebGL slower, and the same
  const traces = groups.map((points, number) => ({
    ...placed(points, x, y, kind),
    name: `${axis.label} ${axis.values[number]}`,
    marker: { color: data.palette[number % data.palette.length], symbol: SYMBOLS[number % 8], size: 7, opacity: 0.75 },
  })).filter((trace) => trace.x.length);
  const ring = (points, name, size, width) => ({
    ...placed(points, x, y, kind), name,
    marker: { color: "rgba(0,0,0,0)", size, line: { color: "#222", width } },
  });
  if (front.size) traces.push(ring([...front], "front", 11, 1.5));
  if (chosen >= 0) traces.push(ring([chosen], "chosen", 18, 3));
  await Plotly.react("plot", traces, {
    xaxis: axisLayout(x, el("logx").checked),
    yaxis: axisLayout(y, el("logy").checked),
    hovermode: "closest",
    margin: { t: 20, r: 20, l: 80, b: 60 },
    font: { family: "system-ui, sans-serif", color: "#222" },
    legend: { itemsizing: "constant" },
    uirevision: `${x.name} ${y.name} ${el("logx").checked} ${el("logy").checked}`,
  }, { responsive: true, displaylogo: false, modeBarButtons: BUTTONS });
}

function placed(points, x, y, kind) {
  const [byX, byY] = [axisUnit(x)[0], axisUnit(y)[0]];
  const at = (metric, factor) => points.map((one) => (metric.values[one] === null ? null : metric.values[one] / factor));
  return {
    type: kind, mode: "markers", hoverinfo: "text", customdata: points,
    x: at(x, byX), y: at(y, byY), hovertext: points.map(hover),
  };
}

// So many of the metric's own unit make one of the axis, and how the axis says so.
function axisUnit(metric) {
  if (metric.name === "accuracy") return [0.01, "%"];
  if (!metric.unit || metric.unit === "mm²") return [1, metric.unit];
  const largest = metric.values.reduce((most, value) => Math.max(most, Math.abs(value || 0)), 0);
  const [factor, prefix] = prefixOf(largest);
  return [factor, prefix + metric.unit];
}

function hover(at) {
  const lines = settings(at).map(([key, value]) => `${key} ${value}`);
  for (const metric of data.metrics) {
    if (metric.sense && metric.values[at] !== null) lines.push(`${metric.label}: ${written(metric, metric.values[at])}`);
  }
  return lines.map((line) => line.replace(/&/g, "&amp;").replace(/</g, "&lt;")).join("<br>");
}

function axisLayout(metric, logarithmic) {
  const unit = axisUnit(metric)[1];
  return {
    title: { text: unit ? `${metric.label} (${unit})` : metric.label }, type: logarithmic ? "log" : "linear",
    exponentformat: "power", gridcolor: "#dddddd", zeroline: false, automargin: true,
  };
}

// Whether there is WebGL; asked once, since a browser keeps few of the contexts that asking makes.
function webgl() {
  if (hasWebgl === undefined) {
    const context = document.createElement("canvas").getContext("webgl");
    hasWebgl = Boolean(context);
    context?.getExtension("WEBGL_lose_context")?.loseContext();
  }
  return hasWebgl;
}

// ---- the table

function table() {
  const axes = data.axes.filter((axis) => axis.values.length > 1);
  const metrics = data.metrics.filter((metric) => metric.values.some((value) => value !== null));
  const rows = (el("onlyfront").checked ? shown.filter((at) => front.has(at)) : [...shown]);
  const axis = axes.find((one) => one.key === sorted.by);
  const value = axis ? (at) => axis.index[at] : (at) => (metricOf[sorted.by] || metricOf.latency).values[at];
  rows.sort((one, other) => (sorted.up ? 1 : -1) * (value(one) - value(other)) || one - other);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  el("page").textContent = `page ${page + 1} of ${pages}`;
  const head = document.createElement("tr");
  head.append(text("th", "point"));
  for (const column of [...axes, ...metrics]) {
    const name = column.key || column.name;
    const mark = sorted.by === name ? (sorted.up ? " ▲" : " ▼") : "";
    const cell = text("th", column.label + mark);
    cell.addEventListener("click", () => {
      sorted = { by: name, up: sorted.by === name ? !sorted.up : true };
      page = 0;
      table();
    });
    head.append(cell);
  }
  el("table").tHead.replaceChildren(head);
  el("table").tBodies[0].replaceChildren(...rows.slice(page * PAGE, (page + 1) * PAGE).map((at) => {
    const row = document.createElement("tr");
    row.dataset.key = data.keys[at];
    row.tabIndex = 0;
    row.className = (front.has(at) ? "front " : "") + (at === chosen ? "chosen" : "");
    row.append(text("td", data.keys[at]));
    for (const one of axes) row.append(text("td", String(one.values[one.index[at]])));
    for (const metric of metrics) row.append(text("td", written(metric, metric.values[at])));
    row.addEventListener("click", () => choose(at));
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(at); });
    return row;
  }));
}

// ---- one point

function chipText(at) {
  return data.toml.text.replace(/\{\{([\w.]+)\}\}/g, (mark, key) => {
    const column = data.toml.keys[key];
    return column ? column.texts[column.index[at]] : mark;
  });
}

function chooseByHash() {
  const key = new URLSearchParams(location.hash.slice(1)).get("point");
  const at = key ? data.keys.findIndex((one) => one.startsWith(key) || key.startsWith(one)) : -1;
  if (at >= 0 && at !== chosen) choose(at);
}

function choose(at) {
  chosen = at;
  history.replaceState(null, "", `#point=${data.keys[at]}`);
  document.body.dataset.chosen = data.keys[at];
  const chip = text("pre", chipText(at));
  chip.id = "chip";
  const name = `${data.chip}-${data.keys[at].slice(0, 8)}.toml`;
  const download = text("button", `save ${name}`);
  download.id = "save";
  download.addEventListener("click", () => save(name, chip.textContent));
  const facts = document.createElement("div");
  const said = settings(at).map(([key, value]) => `${key} ${value}`).join(", ");
  facts.append(text("h3", `Point ${data.keys[at]}${front.has(at) ? ", on the front" : ""}`), text("p", said));
  const numbers = data.metrics.map((metric) => `${metric.label} ${written(metric, metric.values[at])}`);
  facts.append(text("p", numbers.join("; ")));
  const columns = document.createElement("div");
  columns.className = "columns";
  columns.append(
    bars("Energy by component, per image", data.energy, at, (value) => si(value * 1e-12, "J"), "energy"),
    bars("Cycles by cause, mean over the cores", data.cycles, at, (value) => Math.round(value).toLocaleString("en"), "cycles"),
  );
  const file = document.createElement("div");
  file.append(text("h3", "Its chip file, for simulate --hardware"), chip, download);
  el("point").replaceChildren(facts, columns, file);
  table();
  draw();
}

function bars(title, columns, at, write, id) {
  const parts = Object.entries(columns).map(([name, values]) => [name, values[at]]).filter(([, value]) => value > 0);
  parts.sort(([, one], [, other]) => other - one);
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  const made = document.createElement("div");
  made.id = id;
  made.append(text("h3", title));
  for (const [name, value] of parts) {
    const line = document.createElement("div"), bar = document.createElement("i"), room = document.createElement("span");
    line.className = "bar";
    bar.style.width = `${(100 * value) / parts[0][1]}%`;
    room.append(bar);
    line.append(text("span", name), room, text("span", `${write(value)}  ${((100 * value) / total).toFixed(1)} %`));
    made.append(line);
  }
  return made;
}

function save(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/toml" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

start().catch((error) => {
  el("lead").textContent = `This page could not start: ${error.message}`;
  throw error;
});
