// The checks a move needs, as a table: what is measured and the sentence that says why, the verdict, the figure and its limit.
import { badge, make, table, words } from "./dom.js";

const verdict = (check) =>
  check.ok ? badge("✓ holds", "good") : check.known ? badge("✗ does not hold", "bad") : badge("? unknown", "warn");

export const gateTable = (caption, checks) => table(caption, ["Check", "Verdict", "Figure", "Limit"],
  checks.map((check) => [
    make("span", {}, make("span", { class: "name" }, words(check.name)), make("span", { class: "why" }, check.detail || check.meaning)),
    verdict(check), check.figure || "–", check.limit || "–"]));
