// The page "History": the server writes its rows; this adds the viewer's own time zone, older rows
// without leaving the page, and the alarms that sound meanwhile.

import { setText } from "./dom.js";
import { formatFull, t } from "./i18n.js";
import { drawPlots } from "./plots.js";
import { Watch } from "./watch.js";

const byId = (id) => document.getElementById(id);

function showLocalTimes(part) {
  for (const time of part.querySelectorAll("time")) setText(time, formatFull(Date.parse(time.dateTime)));
}

/** Fetches the next page as the server writes it, so that a row has one author, and takes its rows over. */
async function loadOlder(anchor) {
  const note = byId("older-note");
  setText(note, t("history.loading"));
  try {
    const answer = await fetch(anchor.href, { signal: AbortSignal.timeout(15000) });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const rows = [...page.querySelectorAll("#log > tr")];
    rows.forEach(showLocalTimes);
    byId("log").append(...rows);
    replaceAnchor(anchor, page);
    setText(note, t("history.loaded", { count: rows.length }));
  } catch {
    setText(note, t("history.failed"));
  }
}

/** Points the button at the page after; the button itself stays, and with it the focus. */
function replaceAnchor(anchor, page) {
  const next = page.getElementById("load-older");
  if (next) anchor.href = next.getAttribute("href");
  else anchor.replaceWith(page.querySelector("#older > *") ?? "");
}

byId("older")?.addEventListener("click", (click) => {
  if (click.target.id !== "load-older") return;
  click.preventDefault();
  loadOlder(click.target);
});

/** The filters as the plots want them; days begin and end where the reader is. */
function filtersOfPlots() {
  const chosen = (name) => byId(`filter-${name}`).value;
  const midnight = (day, later) => (day ? new Date(`${day}T00:00`).getTime() + later * 86400000 : null);
  const room = byId("filter-node").selectedOptions[0].textContent;
  const [since, until] = [midnight(chosen("since"), 0), midnight(chosen("until"), 1)];
  return { since, until, node: chosen("node"), zone: chosen("zone"), room };
}

byId("plots").addEventListener("toggle", ({ target }) => {
  if (target.open) drawPlots(byId("plot-hours"), byId("plot-levels"), filtersOfPlots());
});

byId("filter-clock").value = Intl.DateTimeFormat().resolvedOptions().timeZone;
showLocalTimes(document);
new Watch().start();
