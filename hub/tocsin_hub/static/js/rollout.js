// The pages of rollouts: the server writes them, and writes them again when something changed. Their parts are
// exchanged where they differ; what has the focus and what was unfolded stays.

import { now } from "./clock.js";
import { setText } from "./dom.js";
import { formatMoment, formatSince, t } from "./i18n.js";
import { Watch } from "./watch.js";

const LEAST_MS = 1000;
const CHECK_MS = 15000;
const one = document.getElementById("rollout")?.dataset.id;
let fetching = false;
let again = false;
let timer = 0;

function showLocalTimes(page) {
  for (const time of page.querySelectorAll("#content time")) {
    const at = Date.parse(time.dateTime);
    if ("since" in time.dataset) setText(time, t("rollout.since", { time: formatSince(at, now()) }));
    else setText(time, formatMoment(at, now()));
  }
}

async function fetchAnew() {
  again = fetching;
  if (fetching) return;
  fetching = true;
  clearTimeout(timer);
  try {
    const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(8000) });
    if (answer.ok) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The sign in the header says that the page is not live; the next change tries again.
  }
  // A site that reports a lot is asked once a second, however often something changes.
  await new Promise((resolve) => setTimeout(resolve, LEAST_MS));
  fetching = false;
  if (again) fetchAnew();
  else timer = setTimeout(fetchAnew, CHECK_MS);
}

function exchange(page) {
  showLocalTimes(page);
  for (const shown of document.querySelectorAll("[data-part]")) {
    const fresh = page.getElementById(shown.id);
    if (fresh === null || same(shown, fresh)) continue;
    const unfolded = [...shown.querySelectorAll("details[open] > summary[id]")].map(({ id }) => id);
    const focused = shown.contains(document.activeElement) ? document.activeElement.id : "";
    shown.replaceChildren(...fresh.childNodes);
    for (const { name, value } of fresh.attributes) shown.setAttribute(name, value);
    for (const id of unfolded) shown.querySelector(`#${id}`)?.parentElement.setAttribute("open", "");
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }
}

/** Whether two parts say the same; the proof in a form that it is ours is new each time, and no difference. */
function same(shown, fresh) {
  return plain(shown).isEqualNode(plain(fresh));
}

function plain(part) {
  const copy = part.cloneNode(true);
  for (const field of copy.querySelectorAll("[open], [value]")) {
    field.removeAttribute("open");
    field.removeAttribute("value");
  }
  return copy;
}

showLocalTimes(document);
new Watch({
  rollout: ({ id }) => (one === undefined || one === id) && fetchAnew(),
  mode: (mode) => mode === "live" && fetchAnew(),
}).start();
