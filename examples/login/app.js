// The way in and out: sign-up, login, its second step, logout, and a session that ends elsewhere.

import { forgetAccount, showAccount } from "./account.js";
import { acts, call, peek, Problem, send } from "./api.js";
import { element, find, notice, onClick, onSubmit, show } from "./page.js";
import { hasPasskeys, showPasskey } from "./passkeys.js";
import { deviceName, explain, explainEnd, timeText } from "./words.js";

const LOOK_MS = 5_000;
let ticket = "";
let resetToken = "";
let isLoggedIn = false;

/** Shows the account if there is a session, else the view that the address names. */
async function start() {
  if (location.hash.startsWith("#reset?")) return showPublic();
  try {
    await send("GET", "/v1/session");
    await enter();
  } catch (problem) {
    if (problem.status !== 401) return failed(problem);
    await leave(await reasonOfEnd());
  }
}

async function enter() {
  ticket = "";
  await showAccount();
  isLoggedIn = true;
  show("account");
}

/** Goes back to the login, and says why. */
async function leave(text) {
  isLoggedIn = false;
  forgetAccount();
  notice(text);
  showPublic();
}

function showPublic() {
  if (isLoggedIn) return;
  ticket = "";
  const [view, query] = location.hash.slice(1).split("?");
  if (view === "reset" && query) return askForPassword(new URLSearchParams(query));
  show(view === "sign-up" ? view : "login");
}

/** Asks for a new password, after a link `#reset?user=ada&token=…` of a mail: what follows the # is sent to no server. */
function askForPassword(link) {
  resetToken = link.get("token");
  find("reset-form").elements.user.value = link.get("user");
  show("reset");
}

function failed(problem) {
  if (!(problem instanceof Problem)) throw problem;
  notice(`${explain(problem)} Load this page again in a moment.`);
}

async function reasonOfEnd() {
  try {
    return explainEnd((await send("GET", "/v1/session/why")).reason);
  } catch {
    return isLoggedIn ? explainEnd() : "";
  }
}

/** Looks whether the session lives; what ended it elsewhere is told. */
async function look() {
  const before = acts();
  if (!isLoggedIn || before === null || (await isLive()) || (await isLive())) return;
  // An act of the user may have replaced the token meanwhile, here or, before the second look, in another tab.
  if (isLoggedIn && acts() === before) await leave(await reasonOfEnd());
}

/** Returns false if the service says that there is no session; without an answer it is live. */
async function isLive() {
  try {
    await peek();
    return true;
  } catch (problem) {
    return problem.kind !== "not-authenticated";
  }
}

/** Begins a session by `login`; what the service asks for first is shown. */
async function logIn(login) {
  try {
    await login();
  } catch (problem) {
    if (problem.kind === "second-factor") return askForSecond(problem.body);
    if (problem.kind === "session-cap") return askForRoom(problem.body);
    if (problem.kind === "not-authenticated" && ticket) return startAgain();
    throw problem;
  }
  notice("");
  await enter();
}

function askForSecond(body) {
  ticket = body.ticket;
  find("totp-login").hidden = !body.factors.includes("totp");
  find("recovery-way").hidden = !body.factors.includes("recovery");
  find("passkey-second").hidden = !hasPasskeys || !body.factors.includes("passkey");
  notice("The password is right.");
  show("second-factor");
}

function askForRoom(body) {
  ticket = body.ticket;
  find("cap-ends").textContent = body.ends;
  find("cap-sessions").replaceChildren(...body.sessions.map((session) => {
    const box = element("input", { type: "checkbox", name: "end", value: session.sid });
    const text = ` ${deviceName(session.device)}, last used ${timeText(session.last_seen_at)}`;
    return element("li", {}, element("label", { class: "check" }, box, text));
  }));
  show("cap");
}

async function startAgain() {
  await leave("That took too long, or too many attempts. Log in again.");
}

onSubmit("login-form", ({ user, password, remember }) =>
  logIn(() => call("POST", "/v1/login", { user, password, remember: remember === "on" })));
onSubmit("sign-up-form", async ({ user, password }) => {
  await call("POST", "/v1/accounts", { user, password });
  await logIn(() => call("POST", "/v1/login", { user, password }));
});
onSubmit("totp-login", ({ code }) => logIn(() => call("POST", "/v1/login/totp", { ticket, code })));
onSubmit("recovery-login", ({ code }) => logIn(() => call("POST", "/v1/login/recovery", { ticket, code })));
find("passkey-login").hidden = !hasPasskeys;
onClick(find("passkey-login"), () => {
  const remember = find("login-form").elements.remember.checked;
  return logIn(() => showPasskey("/v1/login/passkey", {}, { remember }));
});
onClick(find("passkey-second"), () => logIn(() => showPasskey("/v1/login/passkey", { ticket })));
onSubmit("cap-form", () => {
  const end = [...find("cap-sessions").querySelectorAll("input:checked")].map((box) => box.value);
  return logIn(() => call("POST", "/v1/login/cap", { ticket, end }));
});
onSubmit("reset-form", async ({ user, password }) => {
  await call("POST", "/v1/password/reset", { user, token: resetToken, password });
  await leave("The password is changed. Log in with it.");
});
onSubmit("delete-form", async ({ password }) => {
  await call("DELETE", "/v1/account", { password });
  await leave("Your account is deleted.");
});
onClick(find("log-out"), async () => {
  await call("POST", "/v1/logout");
  await leave("You are logged out.");
});
addEventListener("hashchange", showPublic);
addEventListener("not-authenticated", look);
addEventListener("pageshow", (event) => event.persisted && look());
document.addEventListener("visibilitychange", () => document.hidden || look());
setInterval(look, LOOK_MS);
await start();
