// The plots, and the table behind each: the last hour as the control plane has kept it, or what this page has seen since it was opened.
import { get } from "./api.js";
import { byId, make, number, table } from "./dom.js";
import { isLoggedIn } from "./model.js";
import { seen, tick } from "./samples.js";
import uPlot from "./uplot.js";

const HISTORY_MS = 5000;
const ROWS = 60;
const SIDES = [["origin", "Origin"], ["target", "Target"], ["shadow", "Shadow"]];
// side: colour and dash; the label says the same.
const PLOTS = [
  { title: "Requests per second", unit: "/s", series: [
    { name: "reads_origin", label: "Reads from the origin", side: "origin" },
    { name: "reads_target", label: "Reads from the target", side: "target" },
    { name: "writes", label: "Writes", side: "both" }, { name: "shadow", label: "Shadow reads", side: "shadow" }] },
  { title: "Latency", unit: " ms", series: ["p50", "p99"].flatMap((percentile) => SIDES.map(([side, label]) =>
    ({ name: `${percentile}_${side}_ms`, label: `${label} ${percentile}`, side, isThin: percentile === "p50" }))) },
  { title: "Errors per second", unit: "/s", series: [
    { name: "failed_reads", label: "Failed reads", side: "origin" }, { name: "failed_writes", label: "Failed writes", side: "both" },
    ...SIDES.map(([side, label]) => ({ name: `errors_${side}`, label: `${label} errors`, side, isThin: true }))] },
];
const DASHES = { origin: [], target: [8, 4], shadow: [2, 4], both: [12, 3, 2, 3] };
const LIVE = ["reads_origin", "reads_target", "writes", "failed_reads", "failed_writes", "shadow"];

let history = null; // the last answer of GET /api/v1/history; null: there is none
let isMissing = false;

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString();

// [times, values, values, …] as uPlot takes it, of those series that have any figure; what nobody tells is not drawn.
function columns(plot, data) {
  const known = plot.series.filter(({ name }) => data.series[name]?.some((value) => value !== null));
  const length = Math.max(0, ...known.map(({ name }) => data.series[name].length));
  const times = Array.from({ length }, (_, at) => data.from / 1000 + at * data.step_s);
  return { known, data: [times, ...known.map(({ name }) => Array.from({ length }, (_, at) => data.series[name][at] ?? null))] };
}

function options(plot, known, width) {
  const axis = { stroke: () => color("muted"),
    grid: { stroke: () => color("line"), width: 1 }, ticks: { stroke: () => color("line"), width: 1 } };
  return {
    width, height: 200, legend: { show: false }, cursor: { show: false },
    scales: { y: { range: (_, low, high) => [0, Math.max(1, (high ?? 0) * 1.1)] } },
    axes: [{ ...axis, values: (_, splits) => splits.map((split) => clock(split)), space: 90 }, { ...axis, size: 56 }],
    series: [{}, ...known.map(({ label, side, isThin }) =>
      ({ label, stroke: () => color(side === "shadow" ? "shadow-line" : side), width: isThin ? 1 : 2,
        dash: DASHES[side], points: { show: false } }))],
  };
}

function last(values) {
  for (let at = values.length - 1; at >= 0 && at >= values.length - 3; at--) if (values[at] !== null) return values[at];
  return null;
}

function drawTable(plot, known, [times, ...values]) {
  const step = Math.max(1, Math.ceil(times.length / ROWS));
  const rows = [];
  for (let at = times.length - 1; at >= 0; at -= step) rows.push([clock(times[at]), ...values.map((column) => number(column[at]))]);
  plot.table.replaceChildren(table(`${plot.title}, newest first`, ["Time", ...known.map(({ label }) => label)], rows));
}

function draw(plot, source) {
  const { known, data } = columns(plot, source);
  const names = known.map(({ name }) => name).join();
  const width = Math.floor(plot.canvas.clientWidth);
  plot.empty.hidden = known.length > 0;
  if (plot.names !== names) {
    plot.chart?.destroy();
    plot.chart = known.length > 0 && width > 0 ? new uPlot(options(plot, known, width), data, plot.canvas) : null;
    plot.names = plot.chart ? names : null;
  } else if (plot.chart) {
    plot.chart.setData(data);
  }
  if (plot.chart && plot.chart.width !== width && width > 0) plot.chart.setSize({ width, height: 200 });
  const figures = known.map(({ label, side, isThin }, at) => ({ label, side, isThin, value: `${number(last(data[at + 1]))}${plot.unit}` }));
  plot.legend.replaceChildren(...figures.map(({ label, side, isThin, value }) => make("li", {},
    make("span", { class: `key ${side}${isThin ? " thin" : ""}`, "aria-hidden": "true" }), `${label} `, make("strong", {}, value))));
  plot.canvas.setAttribute("aria-label", figures.length > 0
    ? `${plot.title}, now: ${figures.map(({ label, value }) => `${label} ${value}`).join(", ")}` : `${plot.title}: no figures`);
  if (plot.details.open) drawTable(plot, known, data);
}

function drawAll() {
  if (!isLoggedIn() || document.hidden) return;
  const source = history ?? seen;
  byId("plots-note").textContent = history ? "all data planes, the last hour" : "all data planes, since this page was opened";
  for (const plot of PLOTS) draw(plot, source);
}

function build(plot) {
  plot.canvas = make("div", { class: "plot", role: "img", "aria-label": plot.title });
  plot.legend = make("ul", { class: "legend" });
  plot.empty = make("p", { class: "muted" }, "No figures yet.");
  plot.table = make("div", { class: "scroll low", tabindex: "0", role: "region", "aria-label": `${plot.title}, as a table` });
  plot.details = make("details", { ontoggle: drawAll }, make("summary", {}, "As a table"), plot.table);
  return make("article", { class: "card" }, make("h3", {}, plot.title), plot.canvas, plot.empty, plot.legend, plot.details);
}

async function refresh() {
  if (!isLoggedIn() || isMissing) return;
  try {
    history = (await get("/api/v1/history")).body;
  } catch (error) {
    if (error.status === 404) isMissing = true; // this control plane keeps none
    history = null;
  }
}

export function begin() {
  byId("plots").replaceChildren(...PLOTS.map(build));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => PLOTS.forEach((plot) => plot.chart?.redraw()));
  setInterval(refresh, HISTORY_MS);
  setInterval(() => { if (isLoggedIn()) tick(LIVE); drawAll(); }, 1000);
}
