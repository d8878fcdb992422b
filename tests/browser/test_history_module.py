"""web/history.js alone, against a server of an hour's figures that goes on, stops, forgets and begins anew: what it has put together
piece by piece is what the server would tell as a whole."""

import json
import subprocess

from browser import ROOT

PLAY = """
import { refresh } from "@MODULE@";
const POINTS = 720, STEP = 5000;
let next = 1000, values = new Map(); // number of the step that comes, and what is known of those before
let asked = [];
function answer(from) {
  const first = Math.max(next - POINTS, Math.floor(from / STEP));
  const series = { writes: [], p99_origin_ms: [] };
  for (let at = first; at < next; at++) {
    series.writes.push(values.get(at) ?? null);
    series.p99_origin_ms.push(values.has(at) ? values.get(at) / 7 : null);
  }
  return { step_s: 5, from: first * STEP, series };
}
globalThis.fetch = async (path) => {
  const from = new URL(path, "http://x").searchParams.get("from");
  asked.push(from !== null);
  const body = answer(from === null ? 0 : Number(from));
  return { status: 200, headers: new Headers(), json: async () => body };
};
let seed = 7;
const random = (below) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below;
const differing = [];
let before = null;
for (let turn = 0; turn < 3000; turn++) {
  const kind = random(100);
  const steps = kind === 0 ? 800 : kind < 5 ? 30 : random(3); // away for more than the hour, for a while, or not at all
  for (let step = 0; step < steps; step++, next++) if (kind > 5) values.set(next, random(1000));
  const known = await refresh();
  const whole = answer(0);
  if (JSON.stringify(known) !== JSON.stringify(whole)) differing.push([turn, known.from, whole.from, known.series.writes.length]);
  if (steps === 0 && before && before !== known) differing.push([turn, "no news, and yet another object"]);
  before = known;
}
console.log(JSON.stringify({ differing: differing.slice(0, 3), short: asked.filter(Boolean).length, whole: asked.filter((is) => !is).length }));
"""


def test_pieces_make_the_whole_hour(tmp_path):
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for module in ("history.js", "api.js", "model.js"):
        (tmp_path / module).write_text((ROOT / "web" / module).read_text())
    play = tmp_path / "play.js"
    play.write_text(PLAY.replace("@MODULE@", "./history.js"))
    done = subprocess.run(["node", play], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["differing"] == [] and found["short"] > 2900 and 0 < found["whole"] < 300, found
