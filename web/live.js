// Following the control plane: server-sent events, and polling of the same API while no stream is to be had.
import { get } from "./api.js";
import { isLoggedIn, model, update } from "./model.js";

const POLL_MS = 2000;
const STREAM_RETRY_MS = 5000;
const LOOK_MS = 5000; // the figures of the gates change without an event

let stream = null;
let poller = null;
let isPolling = false;
let round = null; // of questions that is to come, or under way
let isNews = false;
let behind = 0; // looks in a row that found a revision the stream has not told of

// An answer that was overtaken by that to a later question is old.
const asked = { phase: 0, audit: 0 }, taken = { ...asked };

async function refresh(name, path, members) {
  const mine = ++asked[name];
  const { body, etag } = await get(path);
  if (mine > taken[name]) {
    taken[name] = mine;
    update(members(body, etag));
  }
  return body;
}

const refreshPhase = () => refresh("phase", "/api/v1/phase", (phase, etag) => ({ phase, etag }));
const refreshAudit = () => refresh("audit", "/api/v1/audit?limit=20", ({ entries }) => ({ audit: entries }));

// What no event carries. Many events make one round of questions, and one more when it is over.
export function refreshSoon() {
  isNews = true;
  if (round) return;
  round = setTimeout(async () => {
    isNews = false;
    if (isLoggedIn()) await Promise.all([refreshPhase(), refreshAudit()]).catch(() => {});
    round = null;
    if (isNews) refreshSoon();
  }, 50);
}

const takeDataplanes = (list) => update({ dataplanes: new Map(list.map((dataplane) => [dataplane.id, dataplane])) });
const isStreaming = () => stream?.readyState === EventSource.OPEN;

// One round of all questions, which also tells whether the control plane is there at all.
async function poll() {
  if (isPolling || !isLoggedIn()) return;
  isPolling = true;
  try {
    const [routing, settings, dataplanes] = await Promise.all(
      ["routing", "settings", "dataplanes"].map((name) => get(`/api/v1/${name}`)));
    await Promise.all([refreshPhase(), refreshAudit()]);
    takeDataplanes(dataplanes.body.dataplanes);
    if (isStreaming()) stopPolling();
    update({ routing: routing.body, settings: settings.body, link: isStreaming() ? "live" : "polling" });
  } catch {
    if (isLoggedIn()) update({ link: "away" });
  } finally {
    isPolling = false;
  }
}

function startPolling() {
  poller ??= setInterval(poll, POLL_MS);
  poll();
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
  behind = 0;
  const mine = stream = new EventSource("/api/v1/events");
  const on = (name, handler) => mine.addEventListener(name, (event) => { if (mine === stream) handler(JSON.parse(event.data)); });
  mine.addEventListener("open", () => {
    if (mine !== stream) return;
    stopPolling();
    update({ link: "live" });
  });
  mine.addEventListener("error", () => {
    if (mine !== stream) return;
    if (mine.readyState === EventSource.CLOSED) // refused, as with a 503: the browser does not try again by itself
      setTimeout(() => { if (mine === stream) follow(); }, STREAM_RETRY_MS);
    startPolling();
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
      if (hasNews) update({ dataplanes: model.dataplanes });
    }
  });
}

// A stream can stand and say nothing: its other end hangs, or the way to it is gone. So every answer here is also a look at that.
async function look() {
  if (!isLoggedIn() || model.link !== "live" || document.hidden) return;
  try {
    const { revision } = await refreshPhase();
    behind = model.routing && model.routing.revision < revision ? behind + 1 : 0;
    if (behind > 1) follow();
  } catch {
    if (isLoggedIn()) startPolling();
  }
}

setInterval(look, LOOK_MS);
document.addEventListener("visibilitychange", look);
