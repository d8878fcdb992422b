// What is away: the control plane, a data plane, a cluster. One line each, gone when it is over.
import { byId, duration, make } from "./dom.js";
import { model, on } from "./model.js";

const LINKS = {
  live: ["✓ Live", "good"],
  polling: ["! No event stream free: asking every 2 s", "warn"],
  away: ["✗ Control plane not reachable", "bad"],
  connecting: ["Connecting…", ""],
};
const NAMED = 4; // the others are counted: the table has them all
const SKEW_MS = 30000;

const named = (list) => list.slice(0, NAMED).join(", ") + (list.length > NAMED ? ` and ${list.length - NAMED} more` : "");

function banners() {
  const lines = [];
  if (model.link === "away")
    lines.push("The control plane is not reachable. The data planes go on as they are; " +
      "nothing can be switched until it is back, and what is shown may be old.");
  if (!model.session) return lines;
  const list = [...model.dataplanes.values()];
  const away = list.filter((dataplane) => !dataplane.connected).map((dataplane) => dataplane.address);
  const behind = list.filter((dataplane) => dataplane.connected && !dataplane.in_sync)
    .map((dataplane) => `${dataplane.address} (${dataplane.state})`);
  const silent = list.filter((dataplane) => dataplane.state === "silent" && dataplane.in_sync).map((dataplane) => dataplane.address);
  if (away.length > 0)
    lines.push(`Away: ${named(away)}. A data plane that runs without the control plane goes on with its last revision.`);
  if (silent.length > 0) lines.push(`Nothing is heard of: ${named(silent)}. Stopped, or hanging?`);
  if (behind.length > 0) lines.push(`Not on the present revision: ${named(behind)}.`);
  for (const side of ["origin", "target"]) {
    const gate = model.phase?.gates.find((entry) => entry.name === `${side}_healthy`);
    const isInUse = model.routing?.[`write_to_${side}`] !== false; // else it may well be switched off
    if (isInUse && gate?.known && !gate.ok) lines.push(`${side} cluster: ${gate.detail}`);
  }
  if (Math.abs(model.skew_ms) > SKEW_MS)
    lines.push(`The clock of this computer is ${duration(Math.abs(model.skew_ms))} ${model.skew_ms < 0 ? "ahead of" : "behind"} ` +
      "the control plane's. " +
      "Times here are the control plane's.");
  return lines;
}

let before = "";

function draw() {
  const [text, kind] = model.session || model.link === "away" ? LINKS[model.link] : ["Not logged in", "warn"];
  const connection = byId("connection");
  if (connection.textContent !== text) connection.textContent = text;
  connection.className = `badge ${kind}`;
  const lines = banners();
  if (lines.join() === before) return; // or it would be read out again and again
  before = lines.join();
  byId("banners").replaceChildren(...lines.map((line) => make("p", { class: "notice bad" }, `! ${line}`)));
}

on("link dataplanes phase routing session", draw);
