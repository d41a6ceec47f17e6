// Calls the service. What it refuses is thrown as a Problem (RFC 9457); its `kind` is the last word of the type.

export class Problem extends Error {
  constructor(status, body, retryAfterS) {
    super(body.detail ?? body.title ?? `status ${status}`);
    this.status = status;
    this.body = body;
    this.kind = String(body.type ?? "").split(/[:#]/).pop();
    this.retryAfterS = retryAfterS;
  }
}

let confirmUser = async () => false;
let running = 0;
let finished = 0;

/** Returns a number that is another one after each act of the user; null while one is under way. */
export function acts() {
  return running ? null : finished;
}

/** Sets what asks the user to authenticate again, by the body of the problem; it resolves to whether that was done. */
export function onConfirm(ask) {
  confirmUser = ask;
}

/** Returns the body of the answer, null if it has none. If the login is too long ago, the user is asked, and it is sent again. */
export async function call(method, path, body) {
  try {
    return await send(method, path, body);
  } catch (problem) {
    if (problem.kind !== "insufficient-user-authentication" || !(await confirmUser(problem.body))) throw problem;
    return send(method, path, body);
  }
}

/** Sends a request once. */
export async function send(method, path, body) {
  running += 1;
  try {
    return await request(method, path, body, {});
  } finally {
    running -= 1;
    finished += 1;
  }
}

/** Looks at the session by no act of the user, so that it does not keep the session alive. */
export function peek() {
  return request("GET", "/v1/session", undefined, { "X-Session-Passive": "1" });
}

async function request(method, path, body, fields) {
  const headers = { Accept: "application/json", ...fields };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: JSON.stringify(body), cache: "no-store", redirect: "error" });
  } catch {
    throw new Problem(0, { type: "unreachable" }, 0);
  }
  const text = await response.text();
  const answer = isJson(response) ? JSON.parse(text) : null;
  if (response.ok) return answer;
  throw new Problem(response.status, answer ?? {}, Number(response.headers.get("Retry-After") ?? 0));
}

function isJson(response) {
  return /^application\/([\w-]+\+)?json/.test(response.headers.get("Content-Type") ?? "");
}
