// Talking to the REST API. Everything goes through here: changes carry the token of the log-in, and a log-in that has ended asks
// for another.
import { model } from "./model.js";

let onEnded = () => {};
export const whenLogInEnds = (handler) => { onEnded = handler; };

export async function call(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (options.method && model.session) headers["X-CSRF-Token"] = model.session.csrf_token;
  if (options.body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401 && model.session) onEnded("The log-in has ended. Log in again.");
  return response;
}

// {status, body, etag}: body is {} where there is none.
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
