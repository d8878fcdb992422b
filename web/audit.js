// The audit trail, newest first.
import { badge, byId, make, shown, time, words } from "./dom.js";
import { model, on } from "./model.js";

const VERBS = { create: "store created", seed: "taken from the first data plane", adopt: "data planes told to adopt this store",
  backup: "backup taken", restore: "restored from a backup", token_create: "token made", token_revoke: "token revoked" };

const valueOf = (name, value) => name !== "expires_ms" ? shown(value) : value === null ? "never" : time(value);

function describe(entry) {
  const after = entry.after ?? entry.before ?? {}; // what is no more is shown as it was
  const parts = Object.keys(after)
    .filter((name) => name !== "revision" && name !== "phase" &&
      (!entry.after || !entry.before || entry.before[name] !== after[name]))
    .map((name) => `${name} = ${valueOf(name, after[name])}`);
  // What the store began with is what each member begins with: it needs no list.
  if (entry.action === "create") return VERBS.create;
  const isMove = entry.phase_after && entry.phase_before !== entry.phase_after;
  const move = isMove ? `${words(entry.phase_before ?? "")} → ${words(entry.phase_after)}` : "";
  return [VERBS[entry.action], move, parts.join(", ")].filter(Boolean).join(": ") || "no difference";
}

function draw() {
  byId("audit").replaceChildren(...model.audit.map((entry) => make("tr", {},
    make("th", { scope: "row", class: "time" }, time(entry.time_ms)), make("td", {}, String(entry.revision)),
    make("td", { title: entry.user_agent || null }, entry.actor),
    make("td", {}, describe(entry), entry.forced ? " " : null, entry.forced ? badge("! forced", "warn") : null),
    make("td", {}, entry.reason || "–"))));
}

on("audit", draw);
