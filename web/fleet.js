// The data planes: what each has applied, who is connected, and how far behind it is.
import { ask } from "./api.js";
import { badge, byId, duration, make, number, time } from "./dom.js";
import { refreshSoon } from "./live.js";
import { may, model, on } from "./model.js";
import { notice } from "./review.js";

async function forget(dataplane) {
  const path = `/api/v1/dataplanes/${encodeURIComponent(dataplane.id)}`;
  const { status, body } = await ask(path, { method: "DELETE" }).catch((error) => ({ status: 0, body: { detail: error.message } }));
  notice(status === 204 ? `${dataplane.address} is forgotten.` : `Not forgotten: ${body.detail ?? status}`, status === 204 ? "good" : "bad");
  refreshSoon();
}

function lag(dataplane) {
  if (!dataplane.connected) return `away for ${duration(Date.now() - (dataplane.disconnected_ms ?? dataplane.last_seen_ms))}`;
  if (!dataplane.in_sync) return `${Math.max(1, (model.routing?.revision ?? 0) - dataplane.applied_revision)} behind`;
  return `none; switched in ${number(dataplane.apply_us / 1000)} ms`;
}

function row(dataplane) {
  const error = dataplane.last_error;
  const isWell = dataplane.connected && dataplane.in_sync;
  return make("tr", { class: isWell ? "" : "attention", "data-id": dataplane.id },
    make("th", { scope: "row" }, dataplane.address, make("small", { class: "muted" }, ` pid ${dataplane.pid}, ${dataplane.version}`)),
    make("td", {}, badge(dataplane.connected ? "✓ connected" : "✗ away", dataplane.connected ? "good" : "bad")),
    make("td", {}, String(model.routing?.revision ?? "–")),
    make("td", {}, `${dataplane.applied_revision} `, badge(dataplane.in_sync ? "✓ in force" : "✗ differs", dataplane.in_sync ? "good" : "bad")),
    make("td", {}, lag(dataplane)),
    make("td", {}, dataplane.stats && dataplane.connected ? number(dataplane.stats.client_connections) : "–"),
    make("td", {}, badge(dataplane.state, isWell && dataplane.state === "follows" ? "good" : "bad"), ` ${dataplane.detail}`,
      error ? make("small", { class: "muted" }, ` since ${time(error.time_ms)}`) : ""),
    make("td", {}, !dataplane.connected && may("operator")
      ? make("button", { type: "button", class: "small",
        "aria-label": `Forget ${dataplane.address}`, onclick: () => forget(dataplane) }, "Forget") : ""));
}

function draw() {
  const list = [...model.dataplanes.values()].sort((a, b) =>
    Number(b.connected) - Number(a.connected) || a.address.localeCompare(b.address, undefined, { numeric: true }));
  byId("dataplanes").replaceChildren(...(list.length > 0 ? list.map(row) : [make("tr", {},
    make("td", { colspan: 8, class: "muted" }, "No data plane has connected yet. Start cloudgate-proxy with the same CONTROL_SOCKET."))]));
  const connected = list.filter((dataplane) => dataplane.connected);
  const differing = connected.filter((dataplane) => !dataplane.in_sync).length;
  byId("dataplanes-note").textContent = list.length === 0 ? "" : differing > 0
    ? `${connected.length} connected, ${differing} NOT on the present revision` : `${connected.length} connected, all on the present revision`;
}

on("dataplanes routing session", draw);
