// The audit trail, newest first: the newest rows come by themselves, older ones when they are asked for.
import { get } from "./api.js";
import { badge, byId, fill, row, shown, time, words } from "./dom.js";
import { model, on } from "./model.js";
import { notice } from "./notice.js";

const NEWEST = 20;
const PAGE = 100;
const HEADS = ["Time", "Revision", "By", "What", "Reason"];
const VERBS = { create: "store created", seed: "taken from the first data plane", adopt: "data planes told to adopt this store",
  backup: "backup taken", restore: "restored from a backup", token_create: "token made", token_revoke: "token revoked",
  dataplane_forget: "data plane forgotten" };

let entries = []; // without a gap
let wanted = NEWEST; // so many are shown; who asks for older ones wants more
let isAtEnd = false;

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

const line = (entry) => row([time(entry.time_ms), String(entry.revision), entry.actor,
  [describe(entry), entry.forced ? " " : null, entry.forced ? badge("! forced", "warn") : null], entry.reason || "–"], HEADS);

function draw() {
  fill(byId("audit"), entries.map(({ id }) => id), () => entries.map(line));
  byId("audit-older").hidden = isAtEnd;
}

function take() {
  const newest = model.audit;
  const lowest = newest.at(-1)?.id ?? 0;
  const isApart = entries.length === 0 || lowest > entries[0].id + 1;
  const all = isApart ? newest : [...newest, ...entries.filter(({ id }) => id < lowest)];
  if (isApart) isAtEnd = newest.length < NEWEST;
  if (all.length > wanted) isAtEnd = false;
  entries = all.slice(0, wanted);
  draw();
}

byId("audit-older").addEventListener("click", async () => {
  const before = entries.at(-1).id;
  wanted = entries.length + PAGE;
  try {
    const { body } = await get(`/api/v1/audit?limit=${PAGE}&before=${before}`);
    if (entries.at(-1).id !== before) return; // the rows have been begun anew meanwhile
    entries = [...entries, ...body.entries];
    isAtEnd = body.entries.length < PAGE;
    draw();
  } catch (error) {
    notice(`Older rows are not to be had: ${error.message}`, "bad");
  }
});
byId("time-zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
on("audit", take);
