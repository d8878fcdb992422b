// The phase line: where the migration stands, where it can go from here, and what a step needs.
import { gateTable } from "./gates.js";
import { badge, byId, code, duration, fill, make, shown, table, words } from "./dom.js";
import { may, model, now, on } from "./model.js";
import { review } from "./review.js";

const SHARES = {
  shadow_read: { member: "shadow_read_percent", label: "Share of the reads that is also sent to the target, in percent", usual: 10 },
  canary_read: { member: "canary_read_percent", label: "Share of the clients whose reads the target answers, in percent", usual: 5 },
};

const NAMED = 3; // of the checks that hold a phase back; the dialog has them all

function open(phase) {
  const share = SHARES[phase.name];
  review({
    title: phase.is_present ? `Change the share of ${words(phase.name)}?` : `Go ${phase.is_forward ? "forward" : "back"} to ${words(phase.name)}?`,
    about: `${words(phase.meaning)}.`,
    button: phase.is_present ? "Change" : `Switch to ${words(phase.name)}`,
    method: "PUT",
    path: "/api/v1/phase",
    body: { phase: phase.name },
    takesReason: true,
    share: share ? { ...share, value: model.phase[share.member] || share.usual } : null,
  });
}

// What is said and offered of a phase: {text, kind, label}; label "": no button.
function offer(phase) {
  if (phase.is_present) return { text: "● present", kind: "here", label: SHARES[phase.name] ? "Change…" : "" };
  if (!phase.is_allowed) return { text: "– not from here", kind: "", label: "" };
  if (!phase.is_forward) return { text: "← back", kind: "", label: "Go back…" };
  return phase.gates_hold ? { text: "✓ ready", kind: "good", label: "Go…" } : { text: "✗ not ready", kind: "warn", label: "Go…" };
}

const sharesOf = ({ shadow_read_percent: shadow, canary_read_percent: canary }) => [
  shadow > 0 ? make("p", { class: "share" }, make("strong", {}, `${shadow} %`), " of the reads") : null,
  canary > 0 ? make("p", { class: "share" }, make("strong", {}, `${canary} %`), " of the clients") : null].filter(Boolean);

function drawItem(place, phase) {
  const { text, kind, label } = offer(phase);
  const held = phase.gates.filter((name) => !model.phase.gates.find((gate) => gate.name === name)?.ok);
  place.className = phase.is_present ? "here" : "";
  if (phase.is_present) place.setAttribute("aria-current", "step");
  else place.removeAttribute("aria-current");
  const { shadow_read_percent: shadow, canary_read_percent: canary } = model.phase;
  fill(place, [phase, held, may("operator"), phase.is_present && [shadow, canary]], () => [
    make("div", { class: "title" }, make("h3", {}, words(phase.name)), badge(text, kind)),
    make("p", { class: "muted" }, words(phase.meaning)),
    ...(phase.is_present ? sharesOf(model.phase) : []),
    !phase.is_present && phase.is_allowed && held.length > 0
      ? make("p", { class: "muted held" },
        `Held by: ${held.slice(0, NAMED).map(words).join(", ")}${held.length > NAMED ? ` and ${held.length - NAMED} more` : ""}.`) : null,
    label && may("operator")
      ? make("button", { type: "button", "data-key": phase.name, "aria-label": `${words(phase.name)}: ${label.replace("…", "")}`,
        onclick: () => open(model.phase.phases.find(({ name }) => name === phase.name)) }, label)
      : null].filter(Boolean));
}

function draw() {
  const { phase } = model;
  if (!phase) return;
  const line = byId("phase-line");
  if (line.children.length !== phase.phases.length) line.replaceChildren(...phase.phases.map(({ name }) => make("li", { "data-phase": name })));
  phase.phases.forEach((entry, at) => drawItem(line.children[at], entry));
  document.title = `${words(phase.phase)} · Cloud-Gate`;
  byId("revision").textContent = phase.revision;
  byId("phase-since").textContent = `${words(phase.phase)} since revision ${phase.since_revision}` +
    (phase.since_ms > 0 ? `, for ${duration(now() - phase.since_ms)}` : "");
  byId("differences").hidden = phase.differences.length === 0;
  fill(byId("differences"), phase.differences, () => [make("p", {}, "The state differs from what this phase would set:"),
    table("Differences from the phase", ["Member", "Now", "As the phase has it"],
      phase.differences.map(({ member, before, after }) => [code(member), shown(before), shown(after)]), "")]);
  fill(byId("gates"), phase.gates, () => [gateTable("All checks", phase.gates)]);
  const holding = phase.gates.filter((gate) => gate.ok).length;
  byId("gates-note").textContent = `${holding} of ${phase.gates.length} hold`;
  byId("role-note").hidden = may("operator");
}

on("phase session", draw);
