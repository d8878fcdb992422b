// Running totals of the data planes into figures per second.
import { model } from "./model.js";

const KEPT = 3600; // seconds

const latest = new Map(); // id -> {before, after}: the last two samples
export const seen = { from: 0, step_s: 1, series: {} }; // in the shape of GET /api/v1/history

export function takeStats(id, stats) {
  const sample = latest.get(id);
  if (sample && stats.time_ms <= sample.after.time_ms) return;
  latest.set(id, { before: sample?.after ?? null, after: stats });
}

// Sum over the connected data planes; null: nothing is known.
function perSecond(name) {
  let sum = null;
  for (const [id, { before, after }] of latest) {
    if (!model.dataplanes.get(id)?.connected || !before || typeof after[name] !== "number") continue;
    sum = (sum ?? 0) + Math.max(0, after[name] - before[name]) * 1000 / (after.time_ms - before.time_ms);
  }
  return model.link === "away" ? null : sum;
}

// Each second: one more point of every total that the data planes tell.
export function tick(names) {
  const length = Math.max(0, ...Object.values(seen.series).map((values) => values.length));
  if (length === 0) seen.from = Date.now();
  for (const name of names) {
    const values = seen.series[name] ??= new Array(length).fill(null);
    values.push(perSecond(name));
    if (values.length > KEPT) values.shift();
  }
  if (length === KEPT) seen.from += 1000;
}
