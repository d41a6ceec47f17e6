// What is seen: one view at a time, forms with their errors, and the notice that is read aloud.

import { Problem } from "./api.js";
import { explain, waitText } from "./words.js";

export const find = (id) => document.getElementById(id);
const VIEWS = [...document.querySelectorAll("main > section")];
const WRONG_HERE = { "name-taken": "user", "wrong-password": "password", "wrong-code": "code" };

/** Shows one view, with the focus in its first empty field, or on its title. */
export function show(id) {
  for (const view of VIEWS) view.hidden = view.id !== id;
  const title = find(`${id}-title`);
  document.title = title.textContent;
  history.replaceState(null, "", `#${id}`);
  for (const form of find(id).querySelectorAll("form")) reset(form);
  const first = id === "account" ? null : find(id).querySelector("form:not(details *) input:not([type=checkbox], .unseen)");
  (first ?? title).focus();
}

/** Says something that is read aloud, and seen above every view until the next one. */
export function notice(text) {
  find("notice").textContent = text;
}

/** Makes an element. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Calls `act` with the fields of a form that is sent; a problem is told beside the field that it is about. */
export function onSubmit(id, act) {
  const form = find(id);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    for (const field of form.elements) clearError(field);
    const empty = [...form.elements].find((field) => field.required && !field.value);
    if (empty) return fieldError(empty, "Fill this in.");
    return attempt(form, form.querySelector("button:not([type])"), async () => {
      await act(Object.fromEntries(new FormData(form)));
      reset(form);
    });
  });
}

/** Calls `act` when a button is clicked; a problem is told in the alert of its section. */
export function onClick(button, act) {
  button.addEventListener("click", () => attempt(button.closest("section, dialog"), button, act));
}

/** Makes a button in a list; `label` says what of the list it is about. */
export function smallButton(text, label, act) {
  const button = element("button", { type: "button", class: "small", "aria-label": label }, text);
  onClick(button, act);
  return button;
}

async function attempt(place, button, act) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const alert = place.querySelector(".alert");
  alert.textContent = "";
  button.setAttribute("aria-disabled", "true");
  let waitS = 0;
  try {
    await act();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    waitS = tell(place, alert, problem);
  } finally {
    if (!waitS) button.removeAttribute("aria-disabled");
  }
  if (waitS) countDown(alert, button, waitS);
}

/** Tells a problem beside its field, or in the alert; returns how many seconds the next attempt has to wait. */
function tell(place, alert, problem) {
  const field = problem.retryAfterS ? null : fieldOf(place, problem);
  if (field) {
    fieldError(field, explain(problem));
    return 0;
  }
  alert.textContent = explain(problem);
  if (problem.kind === "not-authenticated") {
    place.elements?.password?.focus();
    dispatchEvent(new Event("not-authenticated"));
  }
  return problem.retryAfterS;
}

function fieldOf(form, problem) {
  const fields = form.elements ?? {};
  if (problem.kind === "weak-password") return fields.new_password ?? fields.password;
  const field = fields[WRONG_HERE[problem.kind] ?? problem.body.field];
  return field?.type ? field : null;
}

/** Counts the seconds down in sight; only the first number is read aloud. */
function countDown(alert, button, seconds) {
  const text = alert.textContent;
  const until = performance.now() + seconds * 1000;
  alert.textContent = `${text} Try again in ${waitText(seconds)}.`;
  const left = element("span", { role: "timer", class: "hint" });
  button.after(left);
  const timer = setInterval(() => {
    const rest = Math.ceil((until - performance.now()) / 1000);
    left.textContent = rest > 0 ? waitText(rest) : "";
    if (rest > 0) return;
    clearInterval(timer);
    left.remove();
    button.removeAttribute("aria-disabled");
    alert.textContent = "You can try again now.";
  }, 500);
}

function fieldError(field, text) {
  const id = `${field.id}-error`;
  const error = find(id) ?? element("p", { class: "error", id });
  error.textContent = text;
  (field.closest(".secret") ?? field).after(error);
  field.setAttribute("aria-invalid", "true");
  const described = new Set((field.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean));
  field.setAttribute("aria-describedby", [...described.add(id)].join(" "));
  field.focus();
}

function clearError(field) {
  field.removeAttribute("aria-invalid");
  find(`${field.id}-error`)?.remove();
}

/** Empties a form, so that no password stays in the page; what is read-only stays. */
function reset(form) {
  const kept = [...form.elements].filter((field) => field.readOnly).map((field) => [field, field.value]);
  form.reset();
  for (const [field, value] of kept) field.value = value;
  for (const field of form.elements) clearError(field);
  form.querySelector(".alert").textContent = "";
  for (const button of form.querySelectorAll("[data-shows]")) conceal(button, true);
}

function conceal(button, hidden) {
  find(button.dataset.shows).type = hidden ? "password" : "text";
  button.setAttribute("aria-pressed", String(!hidden));
}

for (const field of document.querySelectorAll("input[type=password]")) {
  const attributes = { type: "button", class: "small", "aria-pressed": "false", "data-shows": field.id };
  const button = element("button", attributes, "Show");
  button.setAttribute("aria-label", "Show the password");
  button.addEventListener("click", () => conceal(button, field.type === "text"));
  const box = element("div", { class: "secret" });
  field.replaceWith(box);
  box.append(field, button);
}
