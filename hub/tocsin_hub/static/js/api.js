// The hub's interface. Every question has a time limit, so that a dead connection is noticed.

const BASE = `${document.documentElement.dataset.root}/api/v1`;
const TIMEOUT_MS = 4000;

/** The hub wants a new sign-in. */
export class SignedOut extends Error {}

/** Asks for `path` and returns its JSON; throws when there is no good answer in time. */
export async function ask(path, query = {}) {
  return answerOf(`${path}?${new URLSearchParams(query)}`, { headers: { Accept: "application/json" } });
}

/** Tells the hub `body` at `path`, and returns its JSON; throws when there is no good answer in time. */
export async function tell(path, body = {}) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  return answerOf(path, { method: "POST", headers, body: JSON.stringify(body) });
}

async function answerOf(path, options) {
  const limits = { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) };
  const answer = await fetch(`${BASE}/${path}`, { ...options, ...limits });
  if (answer.status === 401) throw new SignedOut();
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
