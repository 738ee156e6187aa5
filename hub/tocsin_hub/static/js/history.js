// The page "History": the server writes its rows; this adds the viewer's own time zone, older rows
// without leaving the page, and the alarms that sound meanwhile.

import { Detections } from "./detections.js";
import { setText } from "./dom.js";
import { formatFull, t } from "./i18n.js";
import { Jump } from "./jump.js";
import { Link } from "./link.js";
import { Live } from "./live.js";
import { Now } from "./now.js";

const byId = (id) => document.getElementById(id);
const known = new Map();
const detections = new Detections();
const link = new Link(byId("link"), byId("link-note"));
const jump = new Jump(byId("jump"), byId("alarms"));
const sounding = new Now(byId("alarms"), null, refresh);

function refresh() {
  sounding.refresh((node) => known.get(node));
  const alarms = detections.active().filter((event) => event.severity === "alarm");
  link.showAlarms(alarms.length);
  jump.take(alarms);
  byId("now-heading").hidden = sounding.size === 0;
}

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

showLocalTimes(document);
setInterval(refresh, 1000);
new Live({
  rooms(list, whole) {
    if (whole) known.clear();
    list.forEach((room) => known.set(room.node, room));
    refresh();
  },
  events(events, how) {
    sounding.take(detections.merge(events), how);
    refresh();
  },
  reset() {
    detections.clear();
    sounding.clear();
  },
  mode(mode, since) {
    link.enter(mode, since);
    refresh();
  },
}).start();
