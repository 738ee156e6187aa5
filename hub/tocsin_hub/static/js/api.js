// The hub's interface. Every question has a time limit, so that a dead connection is noticed.

const BASE = `${document.documentElement.dataset.root}/api/v1`;
const TIMEOUT_MS = 4000;

/** The hub wants a new sign-in. */
export class SignedOut extends Error {}

/** Asks for `path` and returns its JSON; throws when there is no good answer in time. */
export async function ask(path, query = {}) {
  const address = `${BASE}/${path}?${new URLSearchParams(query)}`;
  const headers = { Accept: "application/json" };
  const answer = await fetch(address, { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (answer.status === 401 || answer.status === 403) throw new SignedOut();
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
