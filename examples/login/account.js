// The view of an account: devices, password, and its end.

import { call, onConfirm, send } from "./api.js";
import { element, find, notice, onClick, onSubmit } from "./page.js";
import { deviceName, timeText } from "./words.js";

let account = {};

/** Reads the account anew, and shows it. */
export async function showAccount() {
  account = await call("GET", "/v1/session");
  find("account-user").textContent = account.user;
  for (const field of document.querySelectorAll("input[name=user][readonly]")) field.value = account.user;
  await showDevices();
}

/** Removes what is of the user from the page. */
export function forgetAccount() {
  account = {};
  for (const id of ["devices", "account-user"]) find(id).textContent = "";
  for (const field of document.querySelectorAll("input[name=user][readonly]")) field.value = "";
  if (find("confirm").open) find("confirm").close();
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

function smallButton(text, label, act) {
  const button = element("button", { type: "button", class: "small", "aria-label": label }, text);
  onClick(button, act);
  return button;
}

async function changePassword({ password, new_password }) {
  await call("POST", "/v1/password", { password, new_password, end_others: true });
  await said("The password is changed, and your other devices are logged out.", "password-title");
}

/** Asks for the password; resolves to whether the user authenticated. */
function askToConfirm() {
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
onSubmit("confirm-form", async ({ password }) => {
  await send("POST", "/v1/session/reauth", { password });
  find("confirm").close("done");
});
find("confirm-cancel").addEventListener("click", () => find("confirm").close());

onClick(find("end-others"), async () => {
  await call("DELETE", "/v1/sessions?except=current");
  await said("All other devices are logged out.", "devices-title");
});
onSubmit("password-form", changePassword);
