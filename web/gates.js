// The checks a move needs, as a table: what is measured, its figure, its limit, and the sentence that says why.
import { badge, make, table, words } from "./dom.js";

const verdict = (check) =>
  check.ok ? badge("✓ holds", "good") : check.known ? badge("✗ does not hold", "bad") : badge("? unknown", "warn");
const figure = (text) => text || "–";

export const gateTable = (caption, checks) => table(caption, ["Check", "Verdict", "Figure", "Limit", "Why"],
  checks.map((check) => [
  make("span", { title: check.meaning }, words(check.name)), verdict(check), figure(check.figure), figure(check.limit),
  make("div", { class: "why" }, check.detail || check.meaning)]));
