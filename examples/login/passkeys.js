// Passkeys: what the browser is asked for, and those of the account, to add, rename and remove.

import { call, Problem } from "./api.js";
import { element, find, onClick, onSubmit, smallButton } from "./page.js";
import { deviceName, timeText } from "./words.js";

const PATH = "/v1/account/passkeys";
const CANCELLED = { NotAllowedError: "no-passkey-shown", InvalidStateError: "passkey-there" };
let changed = async () => {};
let renamed = null;

/** Whether the browser has passkeys, and reads and writes their JSON. */
export const hasPasskeys = typeof globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON === "function";

/** Sets what says that a passkey was changed. */
export function onPasskeyChange(say) {
  changed = say;
}

/** Asks for a passkey by the options of a path, and sends the answer to the path. */
export async function showPasskey(path, asked = {}, more = {}) {
  const { publicKey } = await call("POST", `${path}/options`, asked);
  const options = PublicKeyCredential.parseRequestOptionsFromJSON(publicKey);
  const credential = await fromBrowser(() => navigator.credentials.get({ publicKey: options }));
  return call("POST", path, { credential, ...asked, ...more });
}

/** Shows the passkeys of the account; the service may have none. */
export async function listPasskeys() {
  let passkeys = null;
  if (hasPasskeys) passkeys = await readPasskeys();
  find("passkeys-view").hidden = passkeys === null;
  find("passkey-list").replaceChildren(...(passkeys ?? []).map(passkeyItem));
  find("passkey-name").setAttribute("value", deviceName(navigator.userAgent)); // A form that is emptied gets it again.
}

async function readPasskeys() {
  try {
    return (await call("GET", PATH)).passkeys;
  } catch (problem) {
    if (problem.kind === "passkeys-off") return null;
    throw problem;
  }
}

function passkeyItem(passkey) {
  const used = passkey.last_used_at ? `last used ${timeText(passkey.last_used_at)}` : "not used yet";
  const text = element("span", {}, passkey.name, element("br"), element("small", {}, used));
  const rename = smallButton("Rename", `Rename ${passkey.name}`, () => askForName(passkey));
  const remove = smallButton("Remove", `Remove ${passkey.name}`, () => removePasskey(passkey));
  return element("li", {}, text, element("span", { class: "acts" }, rename, remove));
}

async function addPasskey({ name }) {
  const { publicKey } = await call("POST", `${PATH}/options`);
  const options = PublicKeyCredential.parseCreationOptionsFromJSON(publicKey);
  const credential = await fromBrowser(() => navigator.credentials.create({ publicKey: options }));
  await call("POST", PATH, { credential, name });
  await changed("This device logs you in now, without a password.");
}

async function askForName(passkey) {
  renamed = passkey;
  find("rename-name").value = passkey.name;
  find("rename").showModal();
}

async function renamePasskey({ name }) {
  await call("PATCH", `${PATH}/${renamed.id}`, { name });
  find("rename").close();
  await changed("The passkey has another name.");
}

async function removePasskey(passkey) {
  await call("DELETE", `${PATH}/${passkey.id}`);
  await changed("The passkey opens nothing any more. Remove it from your device, too.");
}

/** Returns what the browser answers, as JSON; that the user does not want to is a problem. */
async function fromBrowser(ask) {
  try {
    return (await ask()).toJSON();
  } catch (error) {
    if (!(error.name in CANCELLED)) throw error;
    throw new Problem(0, { type: CANCELLED[error.name] }, 0);
  }
}

onSubmit("passkey-form", addPasskey);
onSubmit("rename-form", renamePasskey);
find("rename-cancel").addEventListener("click", () => find("rename").close());
