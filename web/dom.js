// Building the page: elements with text in them, never markup from text.

export const byId = (id) => document.getElementById(id);

// make("td", {class: "time", title: "…", onclick: f}, "text", child, null): an element. false, null: the attribute or child is left out.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// The name of a member, which may be broken after its underscores.
export const code = (name) => make("code", {}, ...name.split("_").flatMap((part, at) => at === 0 ? [part] : ["_", make("wbr"), part]));

// kind: good, bad, warn or "". The words alone must say what the colour says.
export const badge = (text, kind = "") => make("span", { class: `badge ${kind}` }, text);

// cells: text, elements or arrays of them; the first names the row. heads: the columns, as narrow screens show them beside each cell.
export const row = (cells, heads = []) => make("tr", {}, ...cells.map((cell, at) =>
  make(at === 0 ? "th" : "td", at === 0 ? { scope: "row" } : { "data-label": heads[at] },
    Array.isArray(cell) ? make("span", {}, ...cell) : cell)));

// rows: arrays of cells.
// kind "stack": a row becomes a block where the screen is narrow.
export function table(caption, heads, rows, kind = "stack") {
  return make("table", { class: kind },
    make("caption", { class: "hidden" }, caption),
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows.map((cells) => row(cells, heads))));
}

const figures = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
export const number = (value) => value === null || value === undefined ? "–" : figures.format(value);
export const time = (ms) => new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
export const words = (name) => name.replaceAll("_", " ").replace("dataplane", "data plane");

export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

// A value of the state, as people read it.
export function shown(value) {
  if (value === null || value === undefined) return "as configured";
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

const drawn = new WeakMap();

// Builds what is in place anew, but only when what it is drawn from has changed: a press must not fall between two drawings of a button,
// nor a selection be lost. The focus goes to what has the same data-key, or stays in the place.
export function fill(place, from, build) {
  const text = JSON.stringify(from);
  if (drawn.get(place) === text) return;
  drawn.set(place, text);
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  place.replaceChildren(...build());
  if (!focused) return;
  place.tabIndex = -1;
  (place.querySelector(`[data-key="${CSS.escape(focused)}"]`) ?? place).focus();
}
