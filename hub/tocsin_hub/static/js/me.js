// The worker's page: what sounds in her rooms, her answer, her phone, and what she missed.

import { watchAddresses } from "./addresses.js";
import { Alerts, isAlarm } from "./alerts.js";
import { ask } from "./api.js";
import { now } from "./clock.js";
import { el, mark, setMark, setText, showText } from "./dom.js";
import { formatSince, mayBe, named, t } from "./i18n.js";
import { Link } from "./link.js";
import { Phone } from "./phone.js";
import { Pulse } from "./pulse.js";
import { send } from "./send.js";

const SEEN = "tocsin.me.seen";
const VIBRATION = [600, 300, 600, 300, 600];
const byId = (id) => document.getElementById(id);
const link = new Link(byId("link"), byId("link-note"));
const alerts = new Alerts(byId("alarms"), byId("others"), {
  send: (incident, answer) => send("POST", `incidents/${incident.id}/answer`, { answer }),
  say: (words) => setText(byId("said"), words),
});
const phone = new Phone({
  state: byId("phone-state"), text: byId("phone-text"), on: byId("phone-on"), off: byId("phone-off"),
  test: byId("phone-test"), tried: byId("phone-tried"),
}, () => pulse.check());
const unconfirmed = new Map(); // incident → receipts of alerts that this page is to show
let latest = null;
let seen = readSeen();
let asked = new URLSearchParams(location.search).get("incident");

const pulse = new Pulse({
  news(answer) {
    const first = latest === null;
    latest = answer;
    const fresh = alerts.take(answer.incidents, answer.person.id);
    if (!first && fresh.length) shake();
    phone.take(answer);
    if (first) showMissed();
    reveal();
    refreshKept(answer.incidents);
    refresh();
  },
  alert({ incident, receipt, repeat }) {
    if (repeat) shake();
    unconfirmed.set(incident, [...unconfirmed.get(incident) ?? [], receipt]);
  },
  mode(mode, since) {
    link.enter(mode, since);
    refresh();
  },
});

/** Once a page was tapped it may vibrate, where the browser can; the words say the same. */
function shake() {
  if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.(VIBRATION);
}

function refresh() {
  alerts.refresh();
  link.showAlarms(alerts.sounding.filter(isAlarm).length);
  showCalm();
  showDeaf();
  confirmShown();
}

/** Says to the hub that an alert is before somebody's eyes: the card stands there, and the page is not hidden. */
async function confirmShown() {
  if (document.hidden) return;
  for (const [incident, receipts] of unconfirmed) {
    if (!alerts.has(incident)) continue;
    unconfirmed.delete(incident);
    for (const receipt of receipts) send("POST", "receipts", { receipt }).catch(() => {});
  }
}

/** Brings cards up to date that no list holds, such as those of troubles. */
async function refreshKept(incidents) {
  const listed = new Set(incidents.map(({ id }) => id));
  for (const id of new Set([...alerts.kept, ...unconfirmed.keys()])) {
    if (listed.has(id)) continue;
    try {
      alerts.keep(await ask(`incidents/${encodeURIComponent(id)}`));
    } catch {
      unconfirmed.delete(id); // not hers to see any more; the next look tries a card again
    }
  }
}

/** Says in words why no card stands here: quiet, deaf and out of date are not the same. */
function showCalm() {
  const box = byId("calm");
  box.hidden = latest !== null && alerts.sounding.length > 0;
  const [kind, heading, text] = calm();
  box.dataset.calm = { check: "yes", notice: "partly" }[kind] ?? "no";
  setMark(box.querySelector(".mark"), kind);
  setText(byId("calm-heading"), heading);
  showText(byId("calm-text"), text);
}

function calm() {
  if (!link.live || latest === null) {
    return link.mode === "connecting" ? ["starting", t("me.loading"), ""] : ["offline", t("me.unknown"), t("me.unknown_text")];
  }
  const { total, listening } = latest.rooms;
  if (total === 0) return ["unknown", t("me.no_rooms"), ""];
  if (listening === 0) return ["silent", t("me.nobody_listens"), t("me.nobody_listens_text")];
  // Quiet is only calm where somebody listens.
  if (listening < total) return ["notice", t("me.quiet"), t("me.listening_partly", { listening, total })];
  return ["check", t("me.quiet"), t("me.listening", { listening, total })];
}

function showDeaf() {
  const deaf = latest?.rooms.deaf ?? [];
  byId("deaf").hidden = deaf.length === 0;
  const lines = deaf.map(({ room, since }) => t("me.deaf_room", { room, time: formatSince(Date.parse(since), now()) }));
  const list = byId("deaf-list");
  while (list.children.length > lines.length) list.lastElementChild.remove();
  while (list.children.length < lines.length) list.append(el("li"));
  lines.forEach((line, place) => setText(list.children[place], line));
}

/** What she was told since her last visit and did not answer, as far as it is over. */
async function showMissed() {
  if (seen === null) return markSeen();
  const { alerts: told } = await ask("me/alerts", { limit: 50 });
  const missed = told.filter((one) => Date.parse(one.created) > seen && one.cleared && !one.answered);
  byId("missed-list").replaceChildren(...missed.map(missedLine));
  byId("missed").hidden = missed.length === 0;
  if (missed.length === 0) markSeen();
}

function missedLine(one) {
  const words = [named("phone_severity", one.severity)];
  if (one.drill) words.push(t("me.drill"));
  words.push(formatSince(Date.parse(one.opened), now()));
  if (one.missed) words.push(t("me.missed_unseen"));
  const what = one.kind === "trouble" ? named("trouble", one.label) : mayBe(one.label);
  return el("li", {}, mark(one.kind === "trouble" ? "offline" : one.severity),
    el("span", {}, el("strong", {}, what), el("span", {}, one.room || one.zone),
      el("span", { class: "faint" }, words.join(" · "))));
}

function readSeen() {
  try {
    const at = Number(localStorage.getItem(SEEN));
    return at > 0 ? at : null;
  } catch {
    return null;
  }
}

function markSeen() {
  seen = now();
  try {
    localStorage.setItem(SEEN, String(seen));
  } catch {
    // A browser that keeps nothing shows it again the next time.
  }
}

/** Shows the incident that a notification was about, even if it ended long ago. */
async function reveal() {
  const id = asked;
  asked = null;
  if (!id || alerts.reveal(id)) return;
  try {
    alerts.keep(await ask(`incidents/${encodeURIComponent(id)}`));
    alerts.reveal(id);
    refresh();
  } catch {
    // It is not hers to see, or there is none: what is current stands there anyway.
  }
}

byId("missed-seen").addEventListener("click", () => {
  markSeen();
  byId("missed").hidden = true;
  byId("content").focus();
});
document.addEventListener("visibilitychange", () => document.hidden && byId("missed").hidden && latest && markSeen());
window.addEventListener("pagehide", () => byId("missed").hidden && latest && markSeen());
navigator.serviceWorker?.addEventListener("message", ({ data }) => {
  if (data?.kind !== "opened") return;
  asked = new URL(data.href).searchParams.get("incident");
  pulse.check();
});
setInterval(refresh, 1000);
pulse.start();
phone.start();
watchAddresses(byId("address-tried"));
