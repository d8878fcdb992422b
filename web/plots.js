// The plots, and the table behind each: the last hour as the control plane has kept it.
import { byId, make, number, row, table, words } from "./dom.js";
import { refresh } from "./history.js";
import { isLoggedIn, model, on } from "./model.js";
import uPlot from "./uplot.js";

const LOOK_MS = 2000;
const HEIGHT = 200;
const SHORTEST_S = 300; // of what is drawn: little is known of a young control plane
const SIDES = [["origin", "Origin"], ["target", "Target"], ["shadow", "Shadow"]];
// side: colour and dash; the label says the same.
const PLOTS = [
  { title: "Requests per second", unit: "/s", series: [
    { name: "reads_origin", label: "Reads from the origin", side: "origin" },
    { name: "reads_target", label: "Reads from the target", side: "target" },
    { name: "writes", label: "Writes", side: "both" }, { name: "shadow", label: "Shadow reads", side: "shadow" }] },
  { title: "Latency in ms", unit: " ms", series: ["p50", "p99"].flatMap((percentile) => SIDES.map(([side, label]) =>
    ({ name: `${percentile}_${side}_ms`, label: `${label} ${percentile}`, side, isThin: percentile === "p50" }))) },
  { title: "Errors per second", unit: "/s", series: [
    { name: "failed_reads", label: "Failed reads", side: "origin" }, { name: "failed_writes", label: "Failed writes", side: "both" },
    ...SIDES.map(([side, label]) => ({ name: `errors_${side}`, label: `${label} errors`, side, isThin: true }))] },
];
const DASHES = { origin: [], target: [8, 4], shadow: [2, 4], both: [12, 3, 2, 3] };

let history = null; // as refresh() gave it
let problem = "";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString();
const minute = (seconds) => new Date(seconds * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const short = (value) => compact.format(value);

// When the first of all figures is from: nothing is drawn of the time before.
function beginning({ series }) {
  const all = Object.values(series);
  const at = (all[0] ?? []).findIndex((_, index) => all.some((values) => values[index] !== null));
  return Math.max(0, at);
}

// [times, values, values, …] as uPlot takes it, of those series that have any figure; what nobody tells is not drawn.
function columns(plot, { from, step_s, series }) {
  const known = plot.series.filter(({ name }) => series[name]?.some((value) => value !== null));
  const begin = beginning({ series });
  const columns = known.map(({ name }) => series[name].slice(begin));
  const times = (columns[0] ?? []).map((_, at) => from / 1000 + (begin + at) * step_s);
  return { known, data: [times, ...columns] };
}

// Where the phase was changed: a line down the plot, and left of it the name of the phase that began there. The newest are named first;
// a name that would cover another is a line lower, or left out.
function drawMoves(chart) {
  const { ctx, bbox } = chart;
  const dot = devicePixelRatio;
  const free = [Infinity, Infinity, Infinity]; // how far to the right each line of names is free
  ctx.save();
  ctx.font = `600 ${11 * dot}px system-ui, sans-serif`;
  ctx.textBaseline = "top";
  ctx.textAlign = "right";
  ctx.strokeStyle = ctx.fillStyle = color("muted");
  ctx.lineWidth = dot;
  for (const { time_ms, phase_before, phase_after } of model.audit) {
    const at = Math.round(chart.valToPos(time_ms / 1000, "x", true));
    if (!phase_before || !phase_after || phase_before === phase_after || at < bbox.left || at > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
    const end = at - 4 * dot, begin = end - ctx.measureText(words(phase_after)).width;
    const line = free.findIndex((limit) => end <= limit);
    if (line < 0 || begin < bbox.left) continue;
    ctx.fillText(words(phase_after), end, bbox.top + line * 14 * dot);
    free[line] = begin - 4 * dot;
  }
  ctx.restore();
}

// For those who do not see it: what the drawing is of.
function describe({ canvas, title, words: figures }, { scales: { x: { min, max } } }) {
  canvas.setAttribute("aria-label", `${title}, from ${clock(min)} to ${clock(max)}; now: ${figures}`);
}

function options(plot, known, width) {
  const axis = { stroke: () => color("muted"),
    grid: { stroke: () => color("line"), width: 1 }, ticks: { stroke: () => color("line"), width: 1 } };
  return {
    width, height: HEIGHT, legend: { show: false }, cursor: { show: false },
    scales: { x: { range: ({ data: [times] }) => [Math.min(times[0], times.at(-1) - SHORTEST_S), times.at(-1)] },
      y: { range: (_, low, high) => [0, Math.max(1, (high ?? 0) * 1.15)] } },
    axes: [{ ...axis, values: (_, splits) => splits.map((split) => minute(split)), space: 64 },
      { ...axis, size: 56, values: (_, splits) => splits.map(short) }],
    series: [{}, ...known.map(({ label, side, isThin }) =>
      ({ label, stroke: () => color(side === "shadow" ? "shadow-line" : side), width: isThin ? 1 : 2,
        dash: DASHES[side], points: { show: false } }))],
    hooks: { draw: [drawMoves, (chart) => describe(plot, chart)] },
  };
}

function last(values) {
  for (let at = values.length - 1; at >= 0 && at >= values.length - 3; at--) if (values[at] !== null) return values[at];
  return null;
}

// Rows that stand are left alone: somebody may be reading them.
function drawTable(plot, known, [times, ...values]) {
  const cells = (at) => [clock(times[at]), ...values.map((column) => number(column[at]))];
  const body = plot.table.querySelector("tbody");
  const first = plot.rows === plot.names && body ? times.findIndex((time) => time > plot.newest) : 0;
  if (first < 0) return;
  if (first === 0 || !body) {
    plot.table.replaceChildren(table(`${plot.title}, newest first`, ["Time", ...known.map(({ label }) => label)],
      times.map((_, at) => cells(times.length - 1 - at)), "wide"));
  } else {
    for (let at = first; at < times.length; at++) body.prepend(row(cells(at)));
    while (body.rows.length > times.length) body.lastChild.remove();
  }
  plot.rows = plot.names;
  plot.newest = times.at(-1);
}

function draw(plot) {
  const { known, data } = columns(plot, history);
  const names = known.map(({ name }) => name).join();
  plot.empty.hidden = known.length > 0;
  plot.canvas.hidden = known.length === 0;
  const width = Math.floor(plot.canvas.clientWidth); // 0 while it is hidden
  if (plot.names !== names || !plot.chart) {
    plot.chart?.destroy();
    plot.chart = known.length > 0 && width > 0 ? new uPlot(options(plot, known, width), data, plot.canvas) : null;
    plot.names = names;
  } else {
    plot.chart.setData(data);
    if (plot.chart.width !== width && width > 0) plot.chart.setSize({ width, height: HEIGHT });
  }
  const figures = known.map(({ label, side, isThin }, at) => ({ label, side, isThin, value: `${number(last(data[at + 1]))}${plot.unit}` }));
  plot.legend.replaceChildren(...figures.map(({ label, side, isThin, value }) => make("li", {},
    make("span", { class: `key ${side}${isThin ? " thin" : ""}`, "aria-hidden": "true" }), `${label} `, make("strong", {}, value))));
  plot.words = figures.map(({ label, value }) => `${label} ${value}`).join(", ");
  if (plot.details.open) drawTable(plot, known, data);
}

function drawAll() {
  if (!isLoggedIn() || document.hidden) return;
  byId("plots-note").textContent = problem || "all data planes, the last hour";
  if (history) for (const plot of PLOTS) draw(plot);
}

async function look() {
  if (!isLoggedIn() || document.hidden) return;
  try {
    const news = await refresh();
    const isNew = news !== history || problem !== "";
    history = news;
    problem = "";
    if (isNew) drawAll();
  } catch (error) {
    problem = `not read at present: ${error.message}`;
    drawAll();
  }
}

function build(plot) {
  plot.canvas = make("div", { class: "plot", role: "img", "aria-label": plot.title });
  plot.legend = make("ul", { class: "legend" });
  plot.empty = make("p", { class: "muted" }, "No figures yet. They come from the data planes, a few seconds after one has connected.");
  plot.table = make("div", { class: "scroll low", tabindex: "0", role: "region", "aria-label": `${plot.title}, as a table` });
  plot.details = make("details", { ontoggle: drawAll }, make("summary", {}, "As a table"), plot.table);
  return make("article", { class: "card" }, make("h3", {}, plot.title), plot.canvas, plot.empty, plot.legend, plot.details);
}

export function begin() {
  byId("plots").replaceChildren(...PLOTS.map(build));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => PLOTS.forEach((plot) => plot.chart?.redraw()));
  addEventListener("resize", drawAll);
  document.addEventListener("visibilitychange", look);
  on("session", look);
  on("audit", () => PLOTS.forEach((plot) => plot.chart?.redraw(false)));
  setInterval(look, LOOK_MS);
}
