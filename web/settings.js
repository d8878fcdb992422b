// Settings of the data planes that change while they run. An empty field: as each data plane is configured.
import { byId, make } from "./dom.js";
import { may, model, on } from "./model.js";
import { review } from "./review.js";

const CHOICES = { replace_cql_functions: ["true", "false"], stamp_timestamps: ["true", "false"], log_level: ["ERROR", "WARN", "INFO", "DEBUG"] };
const FIELDS = [
  { name: "request_timeout_ms", label: "Time limit of a request, in ms" },
  { name: "max_clients", label: "Most client connections of a data plane" },
  { name: "replace_cql_functions", label: "Replace now() and uuid() in statements" },
  { name: "stamp_timestamps", label: "Give writes their timestamp" },
  { name: "log_level", label: "Log level" },
];
const text = (value) => value === null || value === undefined ? "" : String(value);

function field({ name, label }) {
  const id = `setting-${name}`;
  const input = CHOICES[name]
    ? make("select", { id }, make("option", { value: "" }, "as configured"),
      ...CHOICES[name].map((choice) => make("option", { value: choice }, choice)))
    : make("input", { id, inputmode: "numeric", autocomplete: "off", pattern: "[0-9]*", placeholder: "as configured" });
  return make("div", { class: "field" }, make("label", { for: id }, label), input, make("code", { class: "muted" }, name));
}

// What is being typed stays; everything else follows the control plane.
function draw() {
  const { settings } = model;
  if (!settings) return;
  for (const { name } of FIELDS) {
    const input = byId(`setting-${name}`);
    if (input.value === (input.dataset.known ?? "") || input.dataset.known === undefined) input.value = text(settings[name]);
    input.dataset.known = text(settings[name]);
    input.disabled = !may("operator");
  }
  byId("settings-form").querySelector("button").hidden = !may("operator");
  byId("settings-note").textContent = may("operator") ? "of all data planes, while they run; empty: as each is configured"
    : "of all data planes; to change them takes the role operator";
}

function value(name, typed) {
  if (typed === "") return null;
  if (name === "log_level") return typed;
  if (CHOICES[name]) return typed === "true";
  return /^[0-9]+$/.test(typed) ? Number(typed) : typed; // what is no number is for the control plane to refuse
}

byId("settings-fields").replaceChildren(...FIELDS.map(field));
byId("settings-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = {};
  for (const { name } of FIELDS) {
    const input = byId(`setting-${name}`);
    if (input.value.trim() !== input.dataset.known) body[name] = value(name, input.value.trim());
  }
  review({ title: "Change these settings?", about: "On every data plane at once, in place of what each is configured with.", button: "Change",
    method: "PATCH", path: "/api/v1/settings", body });
});
on("settings session", draw);
