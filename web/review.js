// The dialog before every change: what exactly would change, as the control plane itself answers to ?dry_run=true, what is checked,
// and what is asked for first.
import { ask } from "./api.js";
import { gateTable } from "./gates.js";
import { byId, code, fill, make, shown, table } from "./dom.js";
import { refreshSoon } from "./live.js";
import { may, model, on } from "./model.js";
import { followChange, noticeInForce } from "./notice.js";

const AWAY = "The control plane is not reachable: nothing can be changed now.";

let wish = null; // {title, about, method, path, body, share, takesReason, etag, plan}
let isChanging = false; // between the press and the answer
let turn = 0;    // of the questions: only the newest answer counts

function say(text, kind = "") {
  const place = byId("review-problem");
  place.className = `notice ${kind}`;
  place.hidden = text === "";
  place.textContent = text;
}

const isHeld = () => wish.plan && !wish.plan.gates_hold;

// What is still missing before the button may be pressed; "" when nothing is.
function missing() {
  if (isChanging) return "Changing: stored first, then in force on every data plane…";
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

// Checks that hold are behind a line that opens; those that do not are in sight.
function drawChecks({ checks, gates_hold }) {
  const holding = checks.filter((check) => check.ok), failing = checks.filter((check) => !check.ok);
  const isOpen = byId("review-checks").querySelector("details")?.open;
  fill(byId("review-checks"), checks, () => [
    gates_hold ? null : make("h3", {}, `✗ Not ready: ${failing.length} of ${checks.length} checks do not hold`),
    gates_hold ? null : make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Checks that do not hold" },
      gateTable("Checks of this move that do not hold", failing)),
    holding.length === 0 ? null : make("details", { open: isOpen === true },
      make("summary", { "data-key": "checks" }, gates_hold ? `✓ Ready: all ${checks.length} checks hold` : `The ${holding.length} checks that hold`),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Checks that hold" },
        gateTable("Checks of this move that hold", holding))),
  ].filter(Boolean));
}

function draw() {
  const { plan } = wish;
  const fleet = [...model.dataplanes.values()].filter((dataplane) => dataplane.connected).length;
  fill(byId("review-changes"), plan.changes, () => [plan.changes.length === 0 ? make("p", { class: "muted" }, "No difference.") :
    table("What changes", ["Member", "Now", "Then"],
      plan.changes.map(({ member, before, after }) => [code(member), shown(before), make("strong", {}, shown(after))]), "")]);
  byId("review-warning").textContent = plan.warning;
  byId("review-warning").hidden = plan.warning === "";
  drawChecks(plan);
  byId("review-fleet").textContent = fleet === 0
    ? "No data plane is connected: the change is stored and takes effect when one connects."
    : `In force on ${fleet} connected data plane${fleet === 1 ? "" : "s"} when the answer comes, without a restart or a lost connection.`;
  byId("review-typed-line").hidden = !plan.confirmation_needed;
  byId("review-typed-name").textContent = wish.body.phase ?? "";
  byId("review-force-line").hidden = !isHeld() || !may("admin");
  byId("review-reason-line").hidden = !wish.takesReason;
}

// isQuiet: what stands is good until the answer comes.
async function plan(isQuiet = false) {
  const mine = ++turn;
  if (!isQuiet) wish.plan = null;
  judge();
  try {
    const { status, body, etag } = await ask(`${wish.path}?dry_run=true`, { method: wish.method, body: JSON.stringify(wish.body) });
    if (mine !== turn || (isQuiet && etag !== wish.etag)) return;
    if (status === 200) {
      wish.plan = body;
      wish.etag = etag;
      if (!isQuiet) say("");
      draw();
    } else {
      wish.plan = null;
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
  turn++;
  isChanging = true;
  say("");
  judge();
  let answer = null;
  try {
    answer = await ask(wish.path, { method: wish.method, body: JSON.stringify(wanted), headers: { "If-Match": wish.etag ?? "*" } });
  } catch (error) {
    say(`The control plane did not answer (${error.message}). Look at the state before you try again.`, "bad");
  }
  isChanging = false;
  if (answer) await tell(answer);
  judge();
  refreshSoon();
}

async function tell({ status, body }) {
  if (status === 200 || status === 202) {
    byId("review").close("done");
    if (status === 200) noticeInForce(body.revision);
    else followChange(body.revision, body.pending ?? []);
    return;
  }
  if (status === 412 || status === 409) await plan();
  say(status === 412 ? "Somebody else changed the state in the meantime. This is what would change now; look again."
    : `Nothing was changed: ${body.detail ?? status}`, "bad");
}

// share: {member, label, value} of a phase that has one.
export function review(wanted) {
  wish = { plan: null, etag: null, share: null, takesReason: false, ...wanted };
  byId("review-title").textContent = wish.title;
  byId("review-about").textContent = wish.about;
  for (const id of ["review-typed", "review-reason"]) byId(id).value = "";
  byId("review-force").checked = false;
  for (const id of ["review-typed-line", "review-force-line", "review-reason-line", "review-warning"]) byId(id).hidden = true;
  fill(byId("review-changes"), null, () => []);
  fill(byId("review-checks"), [], () => []);
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

// Figures of checks change while the dialog is open, and a check may come to hold. Another revision is another matter: what the operator has
// read is not exchanged under the hand, the control plane refuses what was meant for the old one.
on("phase", () => {
  if (byId("review").open && !isChanging && wish.plan?.checks.length > 0 && model.etag === wish.etag) plan(true);
});
on("link", () => {
  if (!byId("review").open) return;
  if (model.link === "away") say(AWAY, "bad");
  else if (byId("review-problem").textContent === AWAY) plan();
});
