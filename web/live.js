// Following the control plane: server-sent events, and polling of the same API while no stream is to be had.
import { get } from "./api.js";
import { isLoggedIn, model, update } from "./model.js";
import { takeStats } from "./samples.js";

const POLL_MS = 2000;
const STREAM_RETRY_MS = 15000;
const GATES_MS = 5000; // the figures of the gates change without an event

let stream = null;
let poller = null;
let soon = null;

async function refreshPhase() {
  const { body, etag } = await get("/api/v1/phase");
  update({ phase: body, etag });
}

async function refreshAudit() {
  const { body } = await get("/api/v1/audit?limit=20");
  update({ audit: body.entries });
}

// What no event carries. Several events at once make one round of questions.
export function refreshSoon() {
  soon ??= setTimeout(() => {
    soon = null;
    if (isLoggedIn()) Promise.all([refreshPhase(), refreshAudit()]).catch(() => {});
  }, 50);
}

function takeDataplanes(list) {
  for (const dataplane of list) if (dataplane.stats) takeStats(dataplane.id, dataplane.stats);
  update({ dataplanes: new Map(list.map((dataplane) => [dataplane.id, dataplane])) });
}

async function poll() {
  try {
    const [routing, settings, dataplanes] = await Promise.all(
      ["routing", "settings", "dataplanes"].map((name) => get(`/api/v1/${name}`)));
    await Promise.all([refreshPhase(), refreshAudit()]);
    takeDataplanes(dataplanes.body.dataplanes);
    update({ routing: routing.body, settings: settings.body, link: "polling" });
  } catch {
    if (isLoggedIn()) update({ link: "away" });
  }
}

function stopPolling() {
  clearInterval(poller);
  poller = null;
}

export function unfollow() {
  stream?.close();
  stream = null;
  stopPolling();
}

export function follow() {
  unfollow();
  if (!isLoggedIn()) return;
  const mine = stream = new EventSource("/api/v1/events");
  const on = (name, handler) => mine.addEventListener(name, (event) => { if (mine === stream) handler(JSON.parse(event.data)); });
  mine.addEventListener("open", () => {
    if (mine !== stream) return;
    stopPolling();
    update({ link: "live" });
  });
  mine.addEventListener("error", () => {
    if (mine !== stream) return;
    if (model.link !== "polling") update({ link: "away" });
    poller ??= setInterval(poll, POLL_MS);
    if (mine.readyState === EventSource.CLOSED) // refused, as with a 503: the browser does not try again by itself
      setTimeout(() => { if (mine === stream) follow(); }, STREAM_RETRY_MS);
    poll();
  });
  on("state", (state) => {
    takeDataplanes(state.dataplanes);
    update({ routing: state.routing, settings: state.settings });
    refreshSoon();
  });
  on("routing", (routing) => { update({ routing }); refreshSoon(); });
  on("settings", (settings) => { update({ settings }); refreshSoon(); });
  on("dataplanes", (list) => { takeDataplanes(list); refreshSoon(); });
  on("dataplane", (dataplane) => {
    model.dataplanes.set(dataplane.id, dataplane);
    update({ dataplanes: model.dataplanes });
    refreshSoon();
  });
  on("stats", (stats) => {
    for (const dataplane of model.dataplanes.values()) {
      if (dataplane.connection !== stats.connection) continue;
      const hasNews = dataplane.stats?.client_connections !== stats.client_connections;
      dataplane.stats = stats;
      takeStats(dataplane.id, stats);
      if (hasNews) update({ dataplanes: model.dataplanes });
    }
  });
}

setInterval(() => {
  if (isLoggedIn() && model.link === "live" && !document.hidden) refreshPhase().catch(() => {});
}, GATES_MS);
