// The page of one incident: the server writes it, and writes it again when something changed. Its parts are
// exchanged where they differ; what has the focus stays.

import { now } from "./clock.js";
import { setText } from "./dom.js";
import { formatMoment } from "./i18n.js";
import { Watch } from "./watch.js";

const PARTS = ["incident", "timeline", "told", "detections"];
const byId = (id) => document.getElementById(id);
const id = byId("incident").dataset.id;
let fetching = false;
let again = false;

function showLocalTimes(part) {
  for (const time of part.querySelectorAll("time")) setText(time, formatMoment(Date.parse(time.dateTime), now()));
}

async function fetchAnew() {
  again = fetching;
  if (fetching) return;
  fetching = true;
  try {
    const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(8000) });
    if (answer.ok) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The sign in the header says that the page is not live; the next change tries again.
  }
  fetching = false;
  if (again) fetchAnew();
}

function exchange(page) {
  showLocalTimes(page);
  for (const name of PARTS) {
    const [shown, fresh] = [byId(name), page.getElementById(name)];
    if (shown && fresh && shown.textContent !== fresh.textContent) shown.replaceChildren(...fresh.childNodes);
  }
  byId("acknowledge").hidden = page.getElementById("acknowledge").hidden;
}

showLocalTimes(document);
new Watch({
  about: id,
  incidents: (news) => news.some((one) => one.id === id) && fetchAnew(),
  mode: (mode) => mode === "live" && fetchAnew(),
}).start();
