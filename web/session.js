// Logging in and out.
import { ask, call, whenLogInEnds } from "./api.js";
import { byId } from "./dom.js";
import { follow, unfollow } from "./live.js";
import { isLoggedIn, model, update } from "./model.js";
import { dismiss } from "./notice.js";

const AGAIN_MS = 2000;

function showLogIn(why) {
  unfollow();
  update({ session: null, link: "connecting" });
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close("cancel");
  dismiss();
  document.title = "Cloud-Gate";
  byId("content").hidden = true;
  byId("log-in").hidden = false;
  byId("log-in-why").textContent = why;
  byId("who").textContent = "";
  byId("log-out").hidden = true;
  byId("token").focus();
}

function showContent(session) {
  update({ session });
  byId("log-in").hidden = true;
  byId("content").hidden = false;
  byId("who").textContent = `${session.actor.replace(/^token:/, "")} (${session.role})`;
  byId("log-out").hidden = false;
  follow();
}

async function logIn(event) {
  event.preventDefault();
  const field = byId("token");
  try {
    const { status, body, retryAfter } = await ask("/api/v1/session", { method: "POST", body: JSON.stringify({ token: field.value.trim() }) });
    if (status === 200) {
      field.value = "";
      showContent(body);
    } else {
      showLogIn(`Not logged in: ${body.detail ?? status}${retryAfter ? ` (wait ${retryAfter} s)` : ""}.`);
    }
  } catch (error) {
    showLogIn(`The control plane did not answer (${error.message}).`);
  }
}

export async function begin() {
  try {
    const { body } = await ask("/api/v1/session");
    if (body.csrf_token) showContent(body);
    else showLogIn("It takes a token of this control plane.");
  } catch {
    update({ link: "away" });
    setTimeout(begin, AGAIN_MS);
  }
}

whenLogInEnds(showLogIn);
byId("log-in").querySelector("form").addEventListener("submit", logIn);
byId("log-out").addEventListener("click", async () => {
  await call("/api/v1/session", { method: "DELETE" }).catch(() => {});
  if (isLoggedIn() || !model.session) showLogIn("Logged out.");
});
