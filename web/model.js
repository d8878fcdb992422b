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
};

const listeners = new Map();

export function on(names, listener) {
  for (const name of names.split(" ")) listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

// update({routing: …}): takes the members over and tells, once, those who listen to any of them.
export function update(members) {
  Object.assign(model, members);
  const told = new Set(Object.keys(members).flatMap((name) => listeners.get(name) ?? []));
  for (const listener of told) listener();
}

export const isLoggedIn = () => model.session !== null;
const ROLES = ["none", "viewer", "operator", "admin"];
export const may = (role) => isLoggedIn() && ROLES.indexOf(model.session.role) >= ROLES.indexOf(role);
