// The dashboard: shows the routing state, the data planes and their request rates, and switches the two toggles.
// The state comes from server-sent events; when no stream is to be had, the page polls the same API instead.

const POLL_MS = 2000;
const STREAM_RETRY_MS = 15000;
const HISTORY = 60;

const TOGGLES = [
  {
    name: "forward_reads_to_target",
    title: "Reads",
    what: "Who answers SELECT statements on application tables.",
    question: (on) => on ? "Answer reads from the target?" : "Answer reads from the origin?",
    effect: (on) => on
      ? "From now on every SELECT is answered by the target cluster. The target becomes the primary: clients " +
        "get its answers and its errors. Writes still go to both clusters. Requests in flight finish where " +
        "they began."
      : "From now on every SELECT is answered by the origin cluster again. The origin becomes the primary: " +
        "clients get its answers and its errors. Writes still go to both clusters. Requests in flight finish " +
        "where they began.",
  },
  {
    name: "forward_system_queries_to_target",
    title: "System queries",
    what: "Who answers reads of the system keyspaces, which drivers use to learn the schema.",
    question: (on) => on ? "Answer system queries from the target?" : "Answer system queries from the origin?",
    effect: (on) => on
      ? "Drivers will read keyspaces, tables and types from the target cluster. If the two schemas differ, " +
        "drivers that refresh their metadata will see the target's."
      : "Drivers will read keyspaces, tables and types from the origin cluster. If the two schemas differ, " +
        "drivers that refresh their metadata will see the origin's.",
  },
];

const RATES = [
  { name: "reads_origin", title: "Reads from the origin", totals: ["reads_origin"] },
  { name: "reads_target", title: "Reads from the target", totals: ["reads_target"] },
  { name: "writes", title: "Writes to both", totals: ["writes"] },
  { name: "failed", title: "Failed requests", totals: ["failed_reads", "failed_writes"] },
];

const page = {
  routing: null,
  etag: null,
  dataplanes: new Map(), // id -> data plane
  samples: new Map(),    // id -> {before, after}: the last two samples of its running totals
  history: new Map(RATES.map((rate) => [rate.name, []])),
  busy: false,
  csrf: null,            // of the log-in; null: nobody has logged in
  stream: null,
};

const element = (id) => document.getElementById(id);
const side = (on) => (on ? "target" : "origin");
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const time = (ms) => new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

function cell(text, className) {
  const td = document.createElement("td");
  td.textContent = text;
  if (className) td.className = className;
  return td;
}

function badge(text, kind) {
  const span = document.createElement("span");
  span.className = `badge ${kind}`;
  span.textContent = text;
  return span;
}

function showNotice(text, kind) {
  const notice = element("notice");
  notice.textContent = text;
  notice.className = `notice ${kind}`;
  notice.hidden = text === "";
}

function showConnection(text, kind) {
  const status = element("connection");
  if (status.textContent === text) return;
  status.textContent = text;
  status.className = `badge ${kind}`;
}

// --- talking to the API ---

// Everything goes through here: changes carry the token of the log-in, and a log-in that has ended asks for another.
async function call(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (options.method && page.csrf) headers["X-CSRF-Token"] = page.csrf;
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401 && page.csrf) showLogIn("The log-in has ended. Log in again.");
  return response;
}

async function get(path) {
  const response = await call(path);
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail ?? `answer ${response.status}`);
  return { body, etag: response.headers.get("ETag") };
}

async function refreshRouting() {
  const { body, etag } = await get("/api/v1/routing");
  page.etag = etag;
  page.routing = body;
  drawToggles();
  drawDataplanes();
}

async function refreshDataplanes() {
  const { body } = await get("/api/v1/dataplanes");
  takeDataplanes(body.dataplanes);
}

async function refreshAudit() {
  const { body } = await get("/api/v1/audit?limit=20");
  drawAudit(body.entries);
}

async function change(name, value) {
  page.busy = true;
  drawToggles();
  try {
    const response = await call("/api/v1/routing", {
      method: "PATCH",
      headers: { "Content-Type": "application/merge-patch+json", "If-Match": page.etag ?? "*" },
      body: JSON.stringify({ [name]: value }),
    });
    const body = await response.json();
    if (response.status === 200) {
      showNotice(`Done: revision ${body.revision} is in force on every connected data plane.`, "good");
    } else if (response.status === 202) {
      const names = body.pending.map((entry) => `${entry.address} (${entry.reason})`).join(", ");
      showNotice(`Revision ${body.revision} is stored, but not acknowledged by: ${names || "none listed"}.`, "bad");
    } else if (response.status === 412) {
      showNotice("Somebody else changed the routing in the meantime. Look at the present state, then try again.", "bad");
    } else {
      showNotice(`Nothing was changed: ${body.detail ?? response.status}.`, "bad");
    }
  } catch (error) {
    showNotice(`The control plane did not answer (${error.message}). Look at the state before you try again.`, "bad");
  }
  page.busy = false;
  await refreshRouting().catch(() => drawToggles());
}

function ask(toggle, value) {
  const dialog = element("confirm");
  const connected = [...page.dataplanes.values()].filter((dataplane) => dataplane.connected).length;
  element("confirm-title").textContent = toggle.question(value);
  element("confirm-text").textContent = toggle.effect(value);
  element("confirm-fleet").textContent = connected === 0
    ? "No data plane is connected: the change is stored and takes effect when one connects."
    : `It takes effect at once on ${connected} connected data plane${connected === 1 ? "" : "s"}, without a restart or a lost connection.`;
  element("confirm-yes").textContent = `Switch to the ${side(value)}`;
  dialog.returnValue = "cancel";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "confirm") change(toggle.name, value);
  }, { once: true });
  dialog.showModal();
}

// --- drawing ---

function drawToggles() {
  const host = element("toggles");
  if (host.childElementCount === 0) {
    for (const toggle of TOGGLES) {
      const card = element("toggle-template").content.cloneNode(true);
      card.querySelector("h3").textContent = toggle.title;
      card.querySelector(".what").textContent = toggle.what;
      card.querySelector("article").dataset.name = toggle.name;
      card.querySelector("button").addEventListener("click", () => {
        if (!page.busy && page.routing) ask(toggle, !page.routing[toggle.name]);
      });
      host.append(card);
    }
  }
  element("revision").textContent = page.routing ? page.routing.revision : "–";
  for (const card of host.children) {
    const name = card.dataset.name;
    const toggle = TOGGLES.find((entry) => entry.name === name);
    const now = page.routing ? page.routing[name] : null;
    const label = card.querySelector(".side");
    label.textContent = now === null ? "unknown" : `from the ${side(now)}`;
    label.className = `side ${now === null ? "" : side(now)}`;
    const button = card.querySelector("button");
    button.disabled = page.busy || now === null;
    button.textContent = page.busy ? "Switching…" : now === null ? "–" : `Switch to the ${side(!now)}…`;
    button.setAttribute("aria-label", now === null ? toggle.title : `${toggle.title}: switch to the ${side(!now)}`);
  }
}

function drawDataplanes() {
  const body = element("dataplanes");
  const list = [...page.dataplanes.values()].sort((a, b) =>
    Number(b.connected) - Number(a.connected) || a.address.localeCompare(b.address, undefined, { numeric: true }));
  const rows = list.map((dataplane) => {
    const row = document.createElement("tr");
    const differs = !dataplane.in_sync;
    const address = cell(dataplane.address);
    const id = document.createElement("small");
    id.className = "muted";
    id.textContent = ` pid ${dataplane.pid}, ${dataplane.id.slice(0, 8)}`;
    address.append(id);
    const link = cell("");
    link.append(badge(dataplane.connected ? "connected" : "disconnected", dataplane.connected ? "good" : "bad"));
    const applied = cell(`${dataplane.applied_revision} `);
    applied.append(differs
      ? badge(`differs from ${page.routing ? page.routing.revision : "the store"}`, "bad")
      : badge(dataplane.connected ? "in force" : "last known", dataplane.connected ? "good" : ""));
    const error = dataplane.last_error;
    row.append(address, link, applied,
      cell(dataplane.stats && dataplane.connected ? String(dataplane.stats.client_connections) : "–"),
      cell(error ? `${error.reason}: ${error.detail} (${time(error.time_ms)})` : "none", error ? "" : "muted"));
    if (differs || !dataplane.connected) row.className = "attention";
    return row;
  });
  if (rows.length === 0) {
    const row = document.createElement("tr");
    const empty = cell("No data plane has connected yet. Start cloudgate-proxy with the same CONTROL_SOCKET.", "muted");
    empty.colSpan = 5;
    row.append(empty);
    rows.push(row);
  }
  body.replaceChildren(...rows);
  const connected = list.filter((dataplane) => dataplane.connected);
  const differing = connected.filter((dataplane) => !dataplane.in_sync).length;
  element("dataplanes-note").textContent = list.length === 0 ? "" : differing > 0
    ? `${connected.length} connected, ${differing} NOT on the present revision`
    : `${connected.length} connected, all on the present revision`;
}

function describe(entry) {
  const shown = entry.after ?? entry.before ?? {}; // what is no more is shown as it was
  const parts = Object.keys(shown)
    .filter((name) => name !== "revision" && (!entry.after || !entry.before || entry.before[name] !== shown[name]))
    .map((name) => `${name} = ${shown[name]}`);
  const verbs = { create: "store created", seed: "taken from the first data plane", adopt: "data planes told to adopt this store",
    backup: "backup taken", restore: "restored from a backup", token_create: "token made", token_revoke: "token revoked" };
  return [verbs[entry.action], parts.join(", ")].filter(Boolean).join(": ") || "no difference";
}

function drawAudit(entries) {
  element("audit").replaceChildren(...entries.map((entry) => {
    const row = document.createElement("tr");
    row.append(cell(time(entry.time_ms), "time"), cell(String(entry.revision)), cell(entry.actor), cell(describe(entry)));
    if (entry.user_agent) row.children[2].title = entry.user_agent;
    return row;
  }));
}

function drawRates() {
  const host = element("rates");
  if (host.childElementCount === 0) {
    for (const rate of RATES) {
      const card = element("rate-template").content.cloneNode(true);
      card.querySelector("h3").textContent = rate.title;
      card.querySelector("article").classList.add(rate.name);
      host.append(card);
    }
  }
  RATES.forEach((rate, index) => {
    let perSecond = 0;
    let total = 0;
    for (const [id, { before, after }] of page.samples) {
      if (!page.dataplanes.get(id)?.connected) continue;
      for (const name of rate.totals) {
        total += after[name];
        if (before && after.time_ms > before.time_ms)
          perSecond += Math.max(0, after[name] - before[name]) * 1000 / (after.time_ms - before.time_ms);
      }
    }
    const history = page.history.get(rate.name);
    history.push(perSecond);
    if (history.length > HISTORY) history.shift();
    const card = host.children[index];
    card.querySelector(".number span").textContent = number.format(perSecond);
    card.querySelector(".total").textContent = `${number.format(total)} since start`;
    const top = Math.max(1, ...history);
    card.querySelector("polyline").setAttribute("points", history.map((value, at) =>
      `${(120 * (at + HISTORY - history.length) / (HISTORY - 1)).toFixed(1)},${(30 - 28 * value / top).toFixed(1)}`).join(" "));
  });
}

// --- taking in what the control plane says ---

function takeSample(id, stats) {
  const sample = page.samples.get(id);
  if (sample && stats.time_ms <= sample.after.time_ms) return;
  page.samples.set(id, { before: sample?.after ?? null, after: stats });
}

function takeDataplanes(list) {
  page.dataplanes = new Map(list.map((dataplane) => [dataplane.id, dataplane]));
  for (const id of page.samples.keys()) if (!page.dataplanes.has(id)) page.samples.delete(id);
  for (const dataplane of list) if (dataplane.stats) takeSample(dataplane.id, dataplane.stats);
  drawDataplanes();
}

function takeStats(stats) {
  for (const dataplane of page.dataplanes.values()) {
    if (dataplane.connection !== stats.connection) continue;
    const clientsChanged = dataplane.stats?.client_connections !== stats.client_connections;
    dataplane.stats = stats;
    takeSample(dataplane.id, stats);
    if (clientsChanged) drawDataplanes();
  }
}

async function poll() {
  if (!page.csrf) return;
  try {
    await Promise.all([refreshRouting(), refreshDataplanes(), refreshAudit()]);
    showConnection("Polling: no event stream free", "warn");
  } catch {
    if (page.csrf) showConnection("Control plane not reachable; data planes keep serving", "bad");
  }
}

function follow() {
  if (!page.csrf) return;
  const stream = page.stream = new EventSource("/api/v1/events");
  let poller = null;
  const stopPolling = () => {
    clearInterval(poller);
    poller = null;
    showConnection("Live", "good");
  };
  const on = (name, handler) => stream.addEventListener(name, (event) => handler(JSON.parse(event.data)));
  stream.addEventListener("open", stopPolling);
  stream.addEventListener("error", () => {
    if (stream !== page.stream) return clearInterval(poller);
    showConnection("Control plane not reachable; data planes keep serving", "bad");
    poller ??= setInterval(poll, POLL_MS);
    if (stream.readyState === EventSource.CLOSED) { // refused, as with a 503: the browser does not try again by itself
      setTimeout(() => {
        clearInterval(poller);
        poller = null;
        if (stream === page.stream) follow();
      }, STREAM_RETRY_MS);
    }
  });
  on("state", (state) => {
    page.routing = state.routing;
    takeDataplanes(state.dataplanes);
    refreshRouting().catch(() => drawToggles());
    refreshAudit().catch(() => {});
  });
  on("routing", (routing) => {
    page.routing = routing;
    drawToggles();
    refreshRouting().catch(() => {});
    refreshDataplanes().catch(() => {});
    refreshAudit().catch(() => {});
  });
  on("dataplanes", takeDataplanes);
  on("dataplane", (dataplane) => {
    page.dataplanes.set(dataplane.id, dataplane);
    drawDataplanes();
  });
  on("stats", takeStats);
}

// --- logging in and out ---

function showLogIn(why) {
  page.stream?.close();
  page.stream = null;
  page.csrf = null;
  element("content").hidden = true;
  element("log-in").hidden = false;
  element("log-in-why").textContent = why;
  element("who").textContent = "";
  element("log-out").hidden = true;
  if (element("confirm").open) element("confirm").close("cancel");
  showConnection("Not logged in", "warn");
  element("token").focus();
}

function showContent(session) {
  page.csrf = session.csrf_token;
  element("log-in").hidden = true;
  element("content").hidden = false;
  element("who").textContent = `${session.actor.replace(/^token:/, "")} (${session.role})`;
  element("log-out").hidden = false;
  showNotice("", "");
  showConnection("Connecting…", "");
  follow();
}

element("log-in").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = element("token");
  try {
    const response = await fetch("/api/v1/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token: field.value.trim() }),
    });
    const body = await response.json();
    if (response.ok) {
      field.value = "";
      showContent(body);
    } else {
      const wait = response.headers.get("Retry-After");
      showLogIn(`Not logged in: ${body.detail}${wait ? ` (${wait} s)` : ""}.`);
    }
  } catch (error) {
    showLogIn(`The control plane did not answer (${error.message}).`);
  }
});

element("log-out").addEventListener("click", async () => {
  await call("/api/v1/session", { method: "DELETE" }).catch(() => {});
  showLogIn("Logged out.");
});

async function begin() {
  try {
    const response = await fetch("/api/v1/session");
    const session = await response.json();
    if (session.csrf_token) showContent(session);
    else showLogIn("It takes a token of this control plane.");
  } catch {
    showConnection("Control plane not reachable; data planes keep serving", "bad");
    setTimeout(begin, POLL_MS);
  }
}

drawToggles();
drawRates();
setInterval(drawRates, 1000);
begin();
