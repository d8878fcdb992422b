// What became of a change: one line that stays in sight until it is put away. Of a change that some data plane has not acknowledged it
// goes on telling, until it is in force or another has taken its place.
import { ask } from "./api.js";
import { byId, make } from "./dom.js";
import { isLoggedIn } from "./model.js";

const AGAIN_MS = 1000;

let turn = 0; // a newer notice ends the following of an older one

function show(text, kind) {
  byId("notice").className = `notice ${kind}`;
  byId("notice").hidden = false;
  if (byId("notice-text").textContent !== text) byId("notice-text").textContent = text;
}

export function notice(text, kind = "") {
  turn++;
  show(text, kind);
}

export function noticeInForce(revision) {
  notice(`Done: revision ${revision} is in force on every connected data plane.`, "good");
}

const waiting = (revision, pending) => `Revision ${revision} is stored, but not in force everywhere yet. Missing: ` +
  `${pending.map(({ address, reason, detail }) => `${address} (${detail || reason})`).join(", ") || "nobody by name"}.`;

// pending: as in the answer 202.
export async function followChange(revision, pending) {
  notice(waiting(revision, pending), "warn");
  const mine = turn;
  while (mine === turn && isLoggedIn()) {
    await new Promise((resolve) => { setTimeout(resolve, AGAIN_MS); });
    const { status, body } = await ask(`/api/v1/operations/${revision}`).catch(() => ({}));
    if (mine !== turn || status !== 200) continue;
    if (body.status === "in_force") noticeInForce(revision);
    else if (body.status === "superseded") notice(`A later change has taken the place of revision ${revision}.`);
    else show(waiting(revision, body.pending), "warn");
  }
}

export function dismiss() {
  turn++;
  byId("notice").hidden = true;
}

byId("notice").append(make("button", { type: "button", class: "small", onclick: dismiss }, "Dismiss"));
