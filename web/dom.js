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

// kind: good, bad, warn or "". The words alone must say what the colour says.
export const badge = (text, kind = "") => make("span", { class: `badge ${kind}` }, text);

// rows: arrays of what goes into a row's cells, text or element; the first cell names the row.
export function table(caption, heads, rows) {
  return make("table", {},
    make("caption", { class: "hidden" }, caption),
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows.map((cells) => make("tr", {},
      ...cells.map((cell, at) => at === 0 ? make("th", { scope: "row" }, cell) : make("td", {}, cell))))));
}

const figures = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
export const number = (value) => value === null || value === undefined ? "–" : figures.format(value);
export const time = (ms) => new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
export const words = (name) => name.replaceAll("_", " ");

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
