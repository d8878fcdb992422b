// The data planes: what each has applied, who is connected, and how far behind it is.
import { ask } from "./api.js";
import { badge, byId, fill, make, number, row, time } from "./dom.js";
import { refreshSoon } from "./live.js";
import { may, model, on } from "./model.js";
import { notice } from "./notice.js";

const HEADS = ["Address", "Link", "Desired revision", "Applied revision", "Lag", "Clients", "State", "Action"];

async function forget(dataplane) {
  const path = `/api/v1/dataplanes/${encodeURIComponent(dataplane.id)}`;
  const { status, body } = await ask(path, { method: "DELETE" }).catch((error) => ({ status: 0, body: { detail: error.message } }));
  notice(status === 204 ? `${dataplane.address} is forgotten.` : `Not forgotten: ${body.detail ?? status}`, status === 204 ? "good" : "bad");
  refreshSoon();
}

function lag(dataplane) {
  if (!dataplane.connected) return `away since ${time(dataplane.disconnected_ms ?? dataplane.last_seen_ms)}`;
  if (!dataplane.in_sync) return `${Math.max(1, (model.routing?.revision ?? 0) - dataplane.applied_revision)} behind`;
  return `none; switched in ${number(dataplane.apply_us / 1000)} ms`;
}

function line(dataplane) {
  const error = dataplane.last_error;
  const isWell = dataplane.connected && dataplane.in_sync;
  const forgetButton = () => make("button", { type: "button", class: "small", "data-key": dataplane.id,
    "aria-label": `Forget ${dataplane.address}`, onclick: () => forget(dataplane) }, "Forget");
  const cells = row([
    [dataplane.address, make("small", { class: "muted" }, ` pid ${dataplane.pid}, ${dataplane.version}`)],
    badge(dataplane.connected ? "✓ connected" : "✗ away", dataplane.connected ? "good" : "bad"),
    String(model.routing?.revision ?? "–"),
    [`${dataplane.applied_revision} `, badge(dataplane.in_sync ? "✓ in force" : "✗ differs", dataplane.in_sync ? "good" : "bad")],
    lag(dataplane),
    dataplane.stats && dataplane.connected ? number(dataplane.stats.client_connections) : "–",
    [badge(dataplane.state, isWell && dataplane.state === "follows" ? "good" : "bad"), ` ${dataplane.detail}`,
      error ? make("small", { class: "muted" }, ` since ${time(error.time_ms)}`) : null],
    !dataplane.connected && may("operator") ? forgetButton() : ""], HEADS);
  cells.dataset.id = dataplane.id;
  if (!isWell || dataplane.state !== "follows") cells.classList.add("attention");
  return cells;
}

// The totals change each second; of them only the number of clients is shown.
const seenOf = ({ stats, last_seen_ms, ...rest }) => ({ ...rest, clients: stats?.client_connections });

function draw() {
  const list = [...model.dataplanes.values()].sort((a, b) =>
    Number(b.connected) - Number(a.connected) || a.address.localeCompare(b.address, undefined, { numeric: true }));
  fill(byId("dataplanes"), [list.map(seenOf), model.routing?.revision, may("operator")], () => list.length > 0 ? list.map(line) : [make("tr", {},
    make("td", { colspan: HEADS.length, class: "muted" }, "No data plane has connected yet. Start cloudgate-proxy with the same CONTROL_SOCKET."))]);
  const connected = list.filter((dataplane) => dataplane.connected);
  const differing = connected.filter((dataplane) => !dataplane.in_sync).length;
  const silent = connected.filter((dataplane) => dataplane.state === "silent").length;
  const away = list.length - connected.length;
  byId("dataplanes-note").textContent = list.length === 0 ? "" : (differing > 0
    ? `${connected.length} connected, ${differing} NOT on the present revision` : `${connected.length} connected, all on the present revision`) +
    (silent > 0 ? `; ${silent} silent` : "") + (away > 0 ? `; ${away} away` : "");
}

on("dataplanes routing session", draw);
