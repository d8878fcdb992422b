// The dialog before every change: what exactly would change, as the control plane itself answers to ?dry_run=true, what is checked,
// and what is asked for first.
import { ask } from "./api.js";
import { gateTable } from "./gates.js";
import { badge, byId, make, shown, table } from "./dom.js";
import { refreshSoon } from "./live.js";
import { may, model } from "./model.js";

let wish = null; // {title, about, method, path, body, share, takesReason, etag, plan}
let turn = 0;    // of the questions: only the newest answer counts

export function notice(text, kind = "") {
  const place = byId("notice");
  place.className = `notice ${kind}`;
  place.hidden = text === "";
  place.textContent = text;
}

function say(text, kind = "") {
  const place = byId("review-problem");
  place.className = `notice ${kind}`;
  place.hidden = text === "";
  place.textContent = text;
}

const isHeld = () => wish.plan && !wish.plan.gates_hold;

// What is still missing before the button may be pressed; "" when nothing is.
function missing() {
  const reason = byId("review-reason").value.trim();
  if (!wish.plan) return "The control plane has not said what would change.";
  if (wish.plan.changes.length === 0) return "This changes nothing.";
  if (wish.plan.confirmation_needed && byId("review-typed").value.trim() !== wish.body.phase) return `Type ${wish.body.phase} to confirm.`;
  if (isHeld() && !byId("review-force").checked)
    return may("admin") ? "Not every check holds. Wait, or force it with a reason." : "Not every check holds. Forcing it needs the role admin.";
  if (isHeld() && reason === "") return "Forcing needs a reason, for the audit trail.";
  return "";
}

function judge() {
  const text = missing();
  byId("review-yes").disabled = text !== "";
  byId("review-missing").textContent = text;
}

function draw() {
  const { plan } = wish;
  const fleet = [...model.dataplanes.values()].filter((dataplane) => dataplane.connected).length;
  byId("review-changes").replaceChildren(plan.changes.length === 0 ? make("p", { class: "muted" }, "No difference.") :
    table("What changes", ["Member", "Now", "Then"],
      plan.changes.map(({ member, before, after }) => [make("code", {}, member), shown(before), make("strong", {}, shown(after))])));
  byId("review-warning").textContent = plan.warning;
  byId("review-warning").hidden = plan.warning === "";
  byId("review-checks").replaceChildren(...(plan.checks.length === 0 ? [] : [
    make("h3", {}, plan.gates_hold ? "Every check holds " : "Not every check holds ",
      badge(plan.gates_hold ? "ready" : "not ready", plan.gates_hold ? "good" : "bad")),
    gateTable("Checks of this move", plan.checks)]));
  byId("review-fleet").textContent = fleet === 0
    ? "No data plane is connected: the change is stored and takes effect when one connects."
    : `In force on ${fleet} connected data plane${fleet === 1 ? "" : "s"} when the answer comes, without a restart or a lost connection.`;
  byId("review-typed-line").hidden = !plan.confirmation_needed;
  byId("review-typed-name").textContent = wish.body.phase ?? "";
  byId("review-force-line").hidden = !isHeld() || !may("admin");
  byId("review-reason-line").hidden = !wish.takesReason;
}

async function plan() {
  const mine = ++turn;
  wish.plan = null;
  judge();
  try {
    const { status, body, etag } = await ask(`${wish.path}?dry_run=true`, { method: wish.method, body: JSON.stringify(wish.body) });
    if (mine !== turn) return;
    if (status === 200) {
      wish.plan = body;
      wish.etag = etag;
      say("");
      draw();
    } else {
      say(`Not possible: ${body.detail ?? status}`, "bad");
    }
  } catch (error) {
    if (mine === turn) say(`The control plane did not answer (${error.message}).`, "bad");
  }
  judge();
}

async function change() {
  const { body, plan: { confirmation_needed: isTyped } } = wish;
  const reason = byId("review-reason").value.trim();
  const wanted = { ...body };
  if (wish.takesReason && reason) wanted.reason = reason;
  if (isTyped) wanted.confirm = byId("review-typed").value.trim();
  if (isHeld()) wanted.force = true;
  byId("review-yes").disabled = true;
  byId("review-missing").textContent = "Switching…";
  try {
    const answer = await ask(wish.path, { method: wish.method, body: JSON.stringify(wanted), headers: { "If-Match": wish.etag ?? "*" } });
    if (answer.status === 200 || answer.status === 202) {
      const pending = (answer.body.pending ?? []).map((entry) => `${entry.address} (${entry.reason})`).join(", ");
      byId("review").close("done");
      if (answer.status === 200) notice(`Done: revision ${answer.body.revision} is in force on every connected data plane.`, "good");
      else notice(`Revision ${answer.body.revision} is stored, but not acknowledged by: ${pending || "none listed"}.`, "bad");
    } else if (answer.status === 412) {
      await plan();
      say("Somebody else changed the state in the meantime. This is what would change now; look again.", "bad");
    } else {
      if (answer.status === 409) await plan();
      say(`Nothing was changed: ${answer.body.detail ?? answer.status}`, "bad");
      judge();
    }
  } catch (error) {
    say(`The control plane did not answer (${error.message}). Look at the state before you try again.`, "bad");
    judge();
  }
  refreshSoon();
}

// share: {member, label, value} of a phase that has one.
export function review(wanted) {
  wish = { plan: null, etag: null, share: null, takesReason: false, ...wanted };
  byId("review-title").textContent = wish.title;
  byId("review-about").textContent = wish.about;
  for (const id of ["review-typed", "review-reason"]) byId(id).value = "";
  byId("review-force").checked = false;
  for (const id of ["review-typed-line", "review-force-line", "review-reason-line", "review-warning"]) byId(id).hidden = true;
  byId("review-changes").replaceChildren();
  byId("review-checks").replaceChildren();
  byId("review-fleet").textContent = "";
  byId("review-share-line").hidden = wish.share === null;
  if (wish.share) {
    byId("review-share-label").textContent = wish.share.label;
    byId("review-share").value = wish.share.value;
    wish.body[wish.share.member] = wish.share.value;
  }
  byId("review-yes").textContent = wish.button;
  say("");
  byId("review").showModal();
  plan();
}

byId("review-share").addEventListener("change", () => {
  wish.body[wish.share.member] = Number(byId("review-share").value);
  plan();
});
for (const id of ["review-typed", "review-reason", "review-force"]) byId(id).addEventListener("input", judge);
byId("review-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (missing() === "") change();
});
byId("review-no").addEventListener("click", () => byId("review").close("cancel"));
byId("review").addEventListener("close", () => { turn++; });
