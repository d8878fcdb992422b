// What the page knows, and who wants to hear when it changes. Everything in here came from the control plane.

export const model = {
  session: null,         // of the log-in; null: nobody has logged in
  routing: null,
  settings: null,
  phase: null,           // GET /api/v1/phase
  etag: null,            // of the state, for If-Match
  dataplanes: new Map(), // id -> data plane
  audit: [],
  link: "connecting",    // live, polling, away, connecting
  skew_ms: 0,            // to be added to this browser's clock for the control plane's
};

const listeners = new Map();

export function on(names, listener) {
  for (const name of names.split(" ")) listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

const DRAW_MS = 50; // a thousand changes in a row are not drawn one by one

let waiting = null; // listeners to be told; null: none

function tell() {
  const told = waiting;
  waiting = null;
  for (const listener of told) listener();
}

// update({routing: …}): takes the members over at once, and soon tells, once, those who listen to any of them.
export function update(members) {
  Object.assign(model, members);
  if (waiting === null) setTimeout(tell, DRAW_MS);
  waiting ??= new Set();
  for (const name of Object.keys(members)) for (const listener of listeners.get(name) ?? []) waiting.add(listener);
}

export const now = () => Date.now() + model.skew_ms; // as the control plane's clock has it
export const isLoggedIn = () => model.session !== null;
const ROLES = ["none", "viewer", "operator", "admin"];
export const may = (role) => isLoggedIn() && ROLES.indexOf(model.session.role) >= ROLES.indexOf(role);
