// What the page says: why a password is refused, why a session is over, and what went wrong.

const RULES = {
  short: "it is too short",
  breached: "it is in a list of leaked passwords",
  common: "it is a well-known password, or made of well-known words",
  repeated: "it repeats itself",
  sequence: "it is made of neighbouring keys, or of characters in order",
  date: "it is made of dates or years",
  name: "it is made of your name",
  service: "it is made of the name of this service",
};

const ENDS = {
  idle: "You were logged out because you were away for a while.",
  expired: "Your session has reached its end. Log in again.",
  locked: "Your session is locked because you were away for a while.",
  "logged-out": "You are logged out.",
  replaced: "You logged in again in this browser.",
  revoked: "You were logged out from another of your devices.",
  "revoked-all": "You were logged out from another of your devices.",
  "revoked-by-admin": "An administrator has logged you out.",
  disabled: "This account is disabled.",
  everyone: "All users were logged out. Log in again.",
  evicted: "You were logged out because you logged in on another device, and there were too many.",
  reused: "You were logged out because your session was used in two places. Was that you?",
  "impersonation-ended": "The administrator does not act for you any more.",
};

const PROBLEMS = {
  "weak-password": (body) => `Choose another one: ${(body.rules ?? []).map((rule) => RULES[rule] ?? rule).join("; ")}.`,
  "name-taken": () => "This name has an account already. Choose another one.",
  "invalid-input": (body) => `This cannot be used: ${body.remedy ?? body.detail}.`,
  "not-authenticated": () => "The user name and the password do not match.",
  "wrong-password": () => "This is not your password.",
  "wrong-code": () => "This code is not right, or was used. Wait for the next one.",
  "wrong-reset-token": () => "This link is too old, or was used. Ask for another mail.",
  "passkey-refused": () => "This passkey does not log in here any more, or it took too long. Try again.",
  "no-passkey-shown": () => "No passkey was used. Try again.",
  "passkey-there": () => "This device has a passkey of your account already.",
  "passkeys-full": () => "You have as many passkeys as you may. Remove one first.",
  "last-factor": () => "It is the only way into your account. Add another passkey first.",
  "passkeys-off": () => "There are no passkeys here.",
  "sign-up-closed": () => "The operator creates the accounts here.",
  "session-refused": () => "You are logged in on as many devices as you may be. Log out on another one first.",
  "insufficient-user-authentication": () => "Nothing was changed: show who you are for that.",
  impersonated: () => "Who acts for another user may not do this.",
  unreachable: () => "The service cannot be reached. Are you online?",
};

/** Says what a problem means. */
export function explain(problem) {
  if (problem.status === 429) return "There were too many attempts.";
  if (problem.status === 503) return "The service is busy. Nothing is lost.";
  return PROBLEMS[problem.kind]?.(problem.body) ?? `That did not work: ${problem.message}`;
}

/** Says why a session is over; it may not be known. */
export function explainEnd(reason) {
  return ENDS[reason] ?? "You are not logged in any more.";
}

/** Writes seconds as they are said, such as "40 s" or "3 min". */
export function waitText(seconds) {
  if (seconds < 100) return `${seconds} s`;
  return seconds < 6_000 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`;
}

/** Names a device by its User-Agent, such as "Firefox on Linux". */
export function deviceName(userAgent) {
  const find = (names) => Object.keys(names).find((name) => names[name].test(userAgent ?? ""));
  const browser = find({ Edge: /Edg\//, Firefox: /Firefox\//, Chrome: /Chrom(e|ium)\//, Safari: /Safari\// });
  const system = find({ iPhone: /iPhone/, Android: /Android/, Windows: /Windows/, macOS: /Mac OS/, Linux: /Linux/ });
  if (!browser) return userAgent || "Unknown device";
  return system ? `${browser} on ${system}` : browser;
}

/** Writes a time as the reader's language does. */
export function timeText(ms) {
  return new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(ms);
}
