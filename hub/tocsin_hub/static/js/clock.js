// The hub's time. A phone's clock may be years off, and "12 seconds ago" must be right all the same.

let offset = 0;

/** Learns the hub's time from an answer that it has just given. */
export function setServerTime(iso) {
  const at = Date.parse(iso);
  if (!Number.isNaN(at)) offset = at - Date.now();
}

/** Milliseconds since 1970 by the hub's clock. */
export function now() {
  return Date.now() + offset;
}
