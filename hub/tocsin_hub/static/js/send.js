// Sends to the hub's interface what a person does on her page.

const BASE = `${document.documentElement.dataset.root}/api/v1`;
const SEND_MS = 15000;

/** Sends `body` with `method` to `path` and returns the JSON of the answer; throws in the hub's words. */
export async function send(method, path, body = {}) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  const options = { method, headers, body: JSON.stringify(body), cache: "no-store" };
  const answer = await fetch(`${BASE}/${path}`, { ...options, signal: AbortSignal.timeout(SEND_MS) });
  if (answer.ok) return answer.json();
  const words = await answer.json().catch(() => null);
  throw new Error(words?.error?.message ?? `${path}: ${answer.status}`);
}
