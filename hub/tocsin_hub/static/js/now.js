// "Sounding now": one card for each detection. A card never goes away by itself; the one who has read
// it dismisses it once the sound is over.

import { now } from "./clock.js";
import { belongsNow, newestFirst, secondsLong } from "./detections.js";
import { arrange, el, mark, setText, showText } from "./dom.js";
import {
  formatAgo, formatDbfs, formatDuration, formatMoment, formatPercent, formatSince, mayBe, named, t,
} from "./i18n.js";

const OVER_KEPT = { alarm: 50, warning: 10, notice: 10 };
const OUT_OF_REACH = ["offline", "unknown"];
const STORED = "tocsin.dismissed";
const STORED_KEPT = 300;

/**
 * Shows cards in `alarms` and `others`. Without `others` only alarms are shown, and of those that are over
 * only what ended before the reader's eyes.
 */
export class Now {
  #regions;
  #cards = new Map();
  #dismissed = readDismissed();
  #whenChanged;

  constructor(alarms, others, whenChanged) {
    this.#regions = { alarms, others };
    this.#whenChanged = whenChanged;
  }

  /** Takes news in; call `refresh` afterwards. */
  take(events, how) {
    for (const event of events) {
      const card = this.#cards.get(event.id);
      if (this.#wanted(event, how, card !== undefined)) this.#show(event, card);
      else this.#remove(event.id);
    }
    this.#forgetOldest();
    this.#arrange();
  }

  /** Brings times and the state of the rooms up to date; `roomOf(node)` is what is known of one, or undefined. */
  refresh(roomOf) {
    for (const card of this.#cards.values()) card.refresh(roomOf(card.event.node));
  }

  get size() {
    return this.#cards.size;
  }

  get over() {
    return [...this.#cards.values()].filter((card) => card.event.offset).length;
  }

  dismissOver() {
    for (const card of [...this.#cards.values()]) if (card.event.offset) this.#dismiss(card.event);
  }

  clear() {
    this.#cards.clear();
    this.#arrange();
  }

  #wanted(event, how, shown) {
    if (!this.#regions.others && (event.severity !== "alarm" || (how === "loaded" && event.offset))) return false;
    const dismissedAt = this.#dismissed.get(event.id);
    // A sound that was dismissed while its room was out of reach comes back if it still sounds.
    if (dismissedAt !== undefined && !(event.active && event.change > dismissedAt)) return false;
    return belongsNow(event, { how, shown, now: now() });
  }

  #show(event, card) {
    if (card) card.event = event;
    else this.#cards.set(event.id, new Card(event, (dismissed) => this.#dismiss(dismissed)));
  }

  #dismiss(event) {
    this.#dismissed.set(event.id, event.change);
    storeDismissed(this.#dismissed);
    this.#remove(event.id);
    this.#arrange();
    this.#whenChanged();
  }

  #remove(id) {
    this.#cards.delete(id);
  }

  #sorted() {
    return [...this.#cards.values()].sort((one, other) => newestFirst(one.event, other.event));
  }

  #forgetOldest() {
    const room = { ...OVER_KEPT };
    for (const { event } of this.#sorted()) {
      if (!event.active && --room[event.severity] < 0) this.#remove(event.id);
    }
  }

  #arrange() {
    const cards = this.#sorted();
    const elements = (isAlarm) =>
      cards.filter((card) => (card.event.severity === "alarm") === isAlarm).map((card) => card.element);
    arrange(this.#regions.alarms, elements(true));
    if (this.#regions.others) arrange(this.#regions.others, elements(false));
  }
}

class Card {
  #parts;

  constructor(event, dismiss) {
    this.event = event;
    const parts = {
      severity: el("span"), ago: el("span", { class: "card-ago", "aria-hidden": "true" }),
      sound: el("h3"), room: el("strong"), zone: el("span"), facts: el("p", { class: "card-figures" }), candidates: el("p"),
      rhythm: el("p"), certainty: el("p"), trouble: el("p", { class: "card-trouble" }),
      dismiss: el("button", { class: "button", type: "button" }, t("now.dismiss")),
    };
    parts.dismiss.addEventListener("click", () => dismiss(this.event));
    this.#parts = parts;
    this.element = this.#build(parts);
    this.refresh(undefined);
  }

  #build(parts) {
    const { severity } = this.event;
    return el("article", { class: `card sound-${severity}`, "data-id": this.event.id },
      el("p", { class: "card-kind" }, mark(severity), parts.severity, parts.ago),
      parts.sound,
      el("p", { class: "card-room" }, parts.room, parts.zone),
      el("div", { class: "card-facts" }, parts.facts, parts.candidates, parts.rhythm, parts.certainty),
      parts.trouble, parts.dismiss);
  }

  refresh(room) {
    const { event } = this;
    const parts = this.#parts;
    const doubt = event.offset ? "" : doubtOf(event, room);
    this.element.classList.toggle("is-over", Boolean(event.offset));
    setText(parts.severity, severityLine(event));
    setText(parts.ago, event.offset ? "" : formatAgo(Date.parse(event.onset), now()));
    setText(parts.sound, mayBe(event.label));
    setText(parts.room, event.room || event.node);
    setText(parts.zone, event.zone);
    showFacts(parts.facts, facts(event));
    showText(parts.candidates, candidates(event));
    showText(parts.rhythm, event.rhythm === "none" ? "" : named("rhythm", event.rhythm));
    showText(parts.certainty, event.certainty === "certain" ? "" : named("certainty", event.certainty));
    showText(parts.trouble, doubt);
    parts.dismiss.hidden = !event.offset && !doubt;
    parts.dismiss.setAttribute("aria-label",
      t("now.dismiss_this", { sound: named("label", event.label), room: event.room || event.node }));
  }
}

function severityLine(event) {
  const words = [named("severity", event.severity)];
  if (event.offset) words.push(t("now.over"));
  if (event.late) words.push(t("now.late"));
  return words.join(" · ");
}

function showFacts(line, facts) {
  arrange(line, facts.map((fact, place) => line.children[place] ?? el("span", {}, fact)));
  facts.forEach((fact, place) => setText(line.children[place], fact));
}

function facts(event) {
  const time = (iso) => formatMoment(Date.parse(iso), now());
  const when = event.offset
    ? t("now.ended", { time: time(event.offset), duration: formatDuration(secondsLong(event)) })
    : t("now.started", { time: time(event.onset) });
  return [when, t("now.score", { score: formatPercent(event.score) }), loudness(event)].filter(Boolean);
}

function loudness(event) {
  if (event.level_dbfs === null) return "";
  const level = formatDbfs(event.level_dbfs);
  if (event.ambient_dbfs === null) return t("now.level", { level });
  return t("now.level_above", { level, ambient: formatDbfs(event.ambient_dbfs) });
}

function candidates(event) {
  // "It may also be nothing in particular" would tell nobody anything.
  const meant = ({ label, score }) => label !== event.label && label !== "background" && score >= 0.005;
  const others = event.top.filter(meant);
  if (others.length === 0) return "";
  const sounds = others.map(({ label, score }) =>
    t("now.candidate", { sound: named("label", label), score: formatPercent(score) }));
  return t("now.candidates", { sounds: sounds.join(", ") });
}

/** Why it is not known whether `event`, whose end was not reported, still sounds; empty when it is known. */
function doubtOf(event, room) {
  if (room !== undefined && OUT_OF_REACH.includes(room.state)) {
    return t("now.no_news", { time: formatSince(Date.parse(room.last_seen ?? room.since), now()) });
  }
  return event.active ? "" : t("now.end_unknown");
}

function readDismissed() {
  try {
    return new Map(JSON.parse(localStorage.getItem(STORED) ?? "[]"));
  } catch {
    return new Map();
  }
}

function storeDismissed(dismissed) {
  try {
    localStorage.setItem(STORED, JSON.stringify([...dismissed].slice(-STORED_KEPT)));
  } catch {
    // A browser that keeps nothing (private window, full disk) shows it again after a reload.
  }
}
