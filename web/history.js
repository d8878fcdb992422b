// What is plotted: the last hour, as the control plane keeps it (GET /api/v1/history). Asked for whole once, then only for its newest end.
import { get } from "./api.js";

export const STEP_S = 5;
const POINTS = 3600 / STEP_S;

let known = null; // {step_s, from, series}

const endOf = ({ from, step_s, series }) => from + 1000 * step_s * Math.max(0, ...Object.values(series).map((values) => values.length));

// What is known, with the news in place of its end; null when the two do not meet.
function joined(before, news) {
  const kept = (news.from - before.from) / 1000 / before.step_s;
  if (news.step_s !== before.step_s || !Number.isInteger(kept) || kept < 0 || news.from > endOf(before)) return null;
  const drop = Math.max(0, kept + (endOf(news) - news.from) / 1000 / news.step_s - POINTS);
  const series = {};
  for (const [name, values] of Object.entries(news.series)) series[name] = [...(before.series[name] ?? []).slice(0, kept), ...values].slice(drop);
  return { step_s: before.step_s, from: before.from + drop * before.step_s * 1000, series };
}

// The last hour as it is now; the same object while there is no news. Throws as get() does.
export async function refresh() {
  if (known) {
    const before = endOf(known);
    const { body } = await get(`/api/v1/history?step=${STEP_S}&from=${before - 1000 * STEP_S}`);
    if (endOf(body) !== before) known = joined(known, body);
  }
  known ??= (await get(`/api/v1/history?step=${STEP_S}`)).body;
  return known;
}
