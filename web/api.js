// Talking to the REST API. Everything goes through here: changes carry the token of the log-in, a log-in that has ended asks for another,
// and who does not answer for long counts as away.
import { model } from "./model.js";

const READ_MS = 8000;
const CHANGE_MS = 30000; // a change waits for the data planes first

let onEnded = () => {};
export const whenLogInEnds = (handler) => { onEnded = handler; };

function inWords(error) {
  if (error.name === "TimeoutError") return "it was silent for too long";
  return error instanceof TypeError ? "no connection" : error.message;
}

export async function call(path, options = {}) {
  const isChange = Boolean(options.method);
  const headers = { Accept: "application/json", ...options.headers };
  if (isChange && model.session) headers["X-CSRF-Token"] = model.session.csrf_token;
  if (options.body) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(isChange ? CHANGE_MS : READ_MS);
  const response = await fetch(path, { ...options, headers, signal }).catch((error) => { throw new Error(inWords(error), { cause: error }); });
  const date = Date.parse(response.headers.get("Date") ?? "");
  if (Number.isFinite(date)) model.skew_ms = date + 500 - Date.now(); // the header is cut to whole seconds
  if (response.status === 401 && model.session)
    onEnded(isChange ? "The log-in has ended, and nothing was changed. Log in again." : "The log-in has ended. Log in again.");
  return response;
}

// {status, body, etag, retryAfter}: body is {} where there is none.
export async function ask(path, options) {
  const response = await call(path, options);
  const body = await response.json().catch(() => ({}));
  return { status: response.status, body, etag: response.headers.get("ETag"), retryAfter: response.headers.get("Retry-After") };
}

export async function get(path) {
  const answer = await ask(path);
  if (answer.status !== 200) throw Object.assign(new Error(answer.body.detail ?? `answer ${answer.status}`), { status: answer.status });
  return answer;
}
