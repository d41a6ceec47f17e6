// The view of an account: devices, second factor, passkeys, password, and its end.

import { call, onConfirm, send } from "./api.js";
import { element, find, notice, onClick, onSubmit, smallButton } from "./page.js";
import { hasPasskeys, listPasskeys, onPasskeyChange, showPasskey } from "./passkeys.js";
import { deviceName, timeText } from "./words.js";

let account = { factors: {} };

/** Reads the account anew, and shows it. */
export async function showAccount() {
  account = await call("GET", "/v1/account");
  find("account-user").textContent = account.user;
  for (const field of document.querySelectorAll("input[name=user][readonly]")) field.value = account.user;
  showFactor();
  await showDevices();
  await listPasskeys();
}

/** Removes what is of the user from the page. */
export function forgetAccount() {
  account = { factors: {} };
  for (const id of ["devices", "passkey-list", "recovery-codes", "enrol-secret", "account-user"]) find(id).textContent = "";
  for (const field of document.querySelectorAll("input[name=user][readonly]")) field.value = "";
  find("enrol-link").removeAttribute("href");
  find("enrolment").hidden = find("recovery").hidden = true;
  for (const id of ["confirm", "rename"]) if (find(id).open) find(id).close();
}

async function showDevices() {
  const { sessions } = await call("GET", "/v1/sessions");
  find("devices").replaceChildren(...sessions.map(deviceItem));
  find("end-others").hidden = sessions.length < 2;
}

function deviceItem(session) {
  const name = deviceName(session.device);
  const seen = element("small", {}, session.current ? "this device" : `last used ${timeText(session.last_seen_at)}`);
  const item = element("li", { "data-sid": session.sid }, element("span", {}, name, element("br"), seen));
  if (!session.current) item.append(smallButton("Log out", `Log out ${name}`, () => endSession(session.sid)));
  return item;
}

async function endSession(sid) {
  await call("DELETE", `/v1/sessions/${sid}`).catch((problem) => {
    if (problem.status !== 404) throw problem; // It was over already, which is what was asked for.
  });
  await said("That device is logged out.", "devices-title");
}

async function said(text, title) {
  notice(text);
  await showAccount();
  find(title).focus();
}

function showFactor() {
  const { totp, recovery_codes_left: left } = account.factors;
  find("factor-state").textContent = totp
    ? `On: a login takes a code of your app. ${left} recovery codes are left.`
    : "Off. With it, a stolen password opens nothing.";
  find("enrol").hidden = totp;
  find("factor-off").hidden = find("new-recovery").hidden = !totp;
  find("confirm-second").hidden = !totp;
  find("confirm-code").required = Boolean(totp);
}

async function enrol() {
  const { secret, uri } = await call("POST", "/v1/account/totp", {});
  find("enrol-secret").textContent = secret.replace(/(.{4})(?=.)/g, "$1 ");
  find("enrol-link").href = uri;
  find("enrolment").hidden = false;
  find("enrol-code").focus();
}

async function confirmFactor({ code }) {
  const { codes } = await call("POST", "/v1/account/totp/confirm", { code });
  find("enrolment").hidden = true;
  find("enrol-secret").textContent = "";
  find("enrol-link").removeAttribute("href");
  await showRecoveryCodes(codes, "The second factor is on. Keep these codes for the day on which you lose the app.");
}

async function makeRecoveryCodes() {
  const { codes } = await call("POST", "/v1/account/recovery-codes", {});
  await showRecoveryCodes(codes, "Here are your recovery codes. The former ones are not good any more.");
}

async function showRecoveryCodes(codes, text) {
  find("recovery-codes").replaceChildren(...codes.map((code) => element("li", {}, code)));
  find("recovery").hidden = false;
  await said(text, "recovery-title");
}

function hideRecoveryCodes() {
  find("recovery-codes").textContent = "";
  find("recovery").hidden = true;
  find("factor-title").focus();
}

async function turnFactorOff() {
  await call("DELETE", "/v1/account/totp");
  hideRecoveryCodes();
  await said("The second factor is off.", "factor-title");
}

async function changePassword({ password, new_password }) {
  await call("POST", "/v1/password", { password, new_password, end_others: true });
  await said("The password is changed, and your other devices are logged out.", "password-title");
}

/**
 * Asks for the password, and with a second factor for a code, or for a passkey; resolves to whether the user
 * authenticated. If a level is asked for that the password does not reach, only the passkey will do.
 */
function askToConfirm({ acr_values: levels = [] }) {
  const { totp, passkeys } = account.factors;
  find("confirm-form").hidden = !totp && passkeys > 0 && levels.length > 0;
  find("confirm-passkey").hidden = !hasPasskeys || !passkeys;
  const dialog = find("confirm");
  const opener = document.activeElement;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      opener?.focus();
      resolve(dialog.returnValue === "done");
    }, { once: true });
  });
}

onConfirm(askToConfirm);
onPasskeyChange((text) => said(text, "passkeys-title"));
onSubmit("confirm-form", async ({ password, code }) => {
  await send("POST", "/v1/session/reauth", code ? { password, code } : { password });
  find("confirm").close("done");
});
onClick(find("confirm-passkey"), async () => {
  await showPasskey("/v1/session/reauth/passkey");
  find("confirm").close("done");
});
find("confirm-cancel").addEventListener("click", () => find("confirm").close());

onClick(find("end-others"), async () => {
  await call("DELETE", "/v1/sessions?except=current");
  await said("All other devices are logged out.", "devices-title");
});
onClick(find("enrol"), enrol);
onSubmit("enrol-form", confirmFactor);
onClick(find("new-recovery"), makeRecoveryCodes);
find("recovery-done").addEventListener("click", hideRecoveryCodes);
onClick(find("factor-off"), turnFactorOff);
onSubmit("password-form", changePassword);
