// Says to the hub that an alert is shown on this page: only once its incident's card stands in a page
// that is being looked at. A receipt is a word about a person's eyes, not about a socket.

const RECEIPTS = `${document.documentElement.dataset.root}/api/v1/receipts`;
const LOOK_MS = 250;
const PATIENCE_MS = 120000;

const waiting = new Map(); // receipt → its incident, and when it is given up
let timer = 0;

/** Takes the live message `alert`. */
export function confirmShown({ receipt, incident }) {
  waiting.set(receipt, { incident, until: Date.now() + PATIENCE_MS });
  look();
}

function look() {
  clearTimeout(timer);
  for (const [receipt, { incident, until }] of waiting) {
    if (!isShown(incident) && Date.now() < until) continue;
    waiting.delete(receipt);
    if (isShown(incident)) send(receipt);
  }
  if (waiting.size) timer = setTimeout(look, LOOK_MS);
}

function isShown(incident) {
  if (document.hidden) return false;
  return [...document.querySelectorAll("article.incident")].some((card) => card.dataset.id === incident);
}

function send(receipt) {
  const body = JSON.stringify({ receipt });
  const headers = { "Content-Type": "application/json" };
  // A receipt that is lost makes the hub tell once more, which is no harm.
  fetch(RECEIPTS, { method: "POST", headers, body, keepalive: true }).catch(() => {});
}
