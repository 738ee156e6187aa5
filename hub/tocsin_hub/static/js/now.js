// "Sounding now": one card for each incident, and for each detection that no incident tells of. A card
// never goes away by itself; the one who has read it dismisses it once the sound is over.

import { alsoPossible, loudnessOf, noNewsOf, outOfReach, scoreOf, showFacts } from "./cards.js";
import { now } from "./clock.js";
import { belongsNow, secondsLong } from "./detections.js";
import { arrange, el, mark, setText, showText } from "./dom.js";
import { formatAgo, formatDuration, formatMoment, mayBe, named, t } from "./i18n.js";
import { IncidentCard } from "./incident_card.js";
import { incidentBelongs } from "./incidents.js";

const OVER_KEPT = { alarm: 50, warning: 10, notice: 10 };
const STORED = "tocsin.dismissed";
const STORED_KEPT = 300;

/**
 * Shows cards in `alarms` and `others`. Without `others` only alarms are shown, and of those that are over
 * only what ended before the reader's eyes.
 */
export class Now {
  #regions;
  #incidents;
  #cards = new Map();
  #dismissed = readDismissed();
  #whenChanged;
  #elsewhere;

  /** `incidents` knows which events an incident tells of; the one called `elsewhere` has no card. */
  constructor(alarms, others, incidents, whenChanged, elsewhere) {
    this.#elsewhere = elsewhere;
    this.#regions = { alarms, others };
    this.#incidents = incidents;
    this.#whenChanged = whenChanged;
  }

  /** Takes news of events in; call `refresh` afterwards. */
  take(events, how) {
    for (const event of events) {
      const told = this.#incidents.tell(event);
      if (!told && this.#wanted(event, how, belongsNow)) this.#show(event, Card);
      else this.#cards.delete(event.id);
    }
    this.#forgetOldest();
    this.#arrange();
  }

  /** Takes news of incidents in, which replace the cards of the `events` that they tell of. */
  takeIncidents(incidents, events, how) {
    for (const incident of incidents.filter(({ kind, id }) => kind === "sound" && id !== this.#elsewhere)) {
      if (this.#wanted(incident, how, incidentBelongs)) this.#show(incident, IncidentCard);
      else this.#cards.delete(incident.id);
    }
    for (const event of events) if (this.#incidents.tell(event)) this.#cards.delete(event.id);
    this.#forgetOldest();
    this.#arrange();
  }

  /** Brings times, people and the state of the rooms up to date from what `known` tells. */
  refresh(known) {
    for (const card of this.#cards.values()) card.refresh(known);
  }

  get size() {
    return this.#cards.size;
  }

  get over() {
    return [...this.#cards.values()].filter((card) => card.over).length;
  }

  dismissOver() {
    for (const card of [...this.#cards.values()]) if (card.over) this.#dismiss(card);
  }

  clear() {
    this.#cards.clear();
    this.#arrange();
  }

  #wanted(news, how, belongs) {
    const over = !news.active && (news.offset || news.cleared);
    if (!this.#regions.others && (news.severity !== "alarm" || (how === "loaded" && over))) return false;
    const dismissedAt = this.#dismissed.get(news.id);
    // A sound that was dismissed while its room was out of reach comes back if it still sounds.
    if (dismissedAt !== undefined && !(news.active && news.change > dismissedAt)) return false;
    return belongs(news, { how, shown: this.#cards.has(news.id), now: now() });
  }

  #show(news, Kind) {
    const card = this.#cards.get(news.id);
    if (card) card.news = news;
    else this.#cards.set(news.id, new Kind(news, (dismissed) => this.#dismiss(dismissed)));
  }

  #dismiss(card) {
    this.#dismissed.set(card.id, card.news.change);
    storeDismissed(this.#dismissed);
    this.#cards.delete(card.id);
    this.#arrange();
    this.#whenChanged();
  }

  #sorted() {
    return [...this.#cards.values()].sort(byRank);
  }

  #forgetOldest() {
    const room = { ...OVER_KEPT };
    for (const card of this.#sorted()) {
      if (!card.active && --room[card.severity] < 0) this.#cards.delete(card.id);
    }
  }

  #arrange() {
    const cards = this.#sorted();
    const elements = (isAlarm) =>
      cards.filter((card) => (card.severity === "alarm") === isAlarm).map((card) => card.element);
    arrange(this.#regions.alarms, elements(true));
    if (this.#regions.others) arrange(this.#regions.others, elements(false));
  }
}

/** Help that somebody asked for comes first, then incidents before single sounds, then the newest. */
function byRank(one, other) {
  const rank = ({ news, active }) => Number(active && Boolean(news.help)) * 2 + Number("opened" in news && active);
  const newest = one.began === other.began ? one.id < other.id : one.began < other.began;
  return rank(other) - rank(one) || (newest ? 1 : -1);
}

class Card {
  #parts;

  constructor(event, dismiss) {
    this.news = event;
    const parts = {
      severity: el("span"), ago: el("span", { class: "card-ago", "aria-hidden": "true" }),
      sound: el("h3"), room: el("strong"), zone: el("span"), facts: el("p", { class: "card-figures" }), candidates: el("p"),
      rhythm: el("p"), certainty: el("p"), trouble: el("p", { class: "card-trouble" }),
      dismiss: el("button", { class: "button dismiss", type: "button" }, t("now.dismiss")),
    };
    parts.dismiss.addEventListener("click", () => dismiss(this));
    this.#parts = parts;
    this.element = this.#build(parts);
    this.refresh({ roomOf: () => undefined });
  }

  get id() {
    return this.news.id;
  }

  get severity() {
    return this.news.severity;
  }

  get began() {
    return this.news.onset;
  }

  get active() {
    return this.news.active;
  }

  get over() {
    return Boolean(this.news.offset);
  }

  #build(parts) {
    const { severity } = this;
    return el("article", { class: `card sound-${severity}`, "data-id": this.id },
      el("p", { class: "card-kind" }, mark(severity), parts.severity, parts.ago),
      parts.sound,
      el("p", { class: "card-room" }, parts.room, parts.zone),
      el("div", { class: "card-facts" }, parts.facts, parts.candidates, parts.rhythm, parts.certainty),
      parts.trouble, parts.dismiss);
  }

  refresh({ roomOf }) {
    const event = this.news;
    const parts = this.#parts;
    const doubt = event.offset ? "" : doubtOf(event, roomOf(event.node));
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

function facts(event) {
  const time = (iso) => formatMoment(Date.parse(iso), now());
  const when = event.offset
    ? t("now.ended", { time: time(event.offset), duration: formatDuration(secondsLong(event)) })
    : t("now.started", { time: time(event.onset) });
  return [when, scoreOf(event), loudnessOf(event)].filter(Boolean);
}

/** What else it may be; where it is known by its rhythm alone, the scores say nothing. */
function candidates(event) {
  if (event.certainty === "rhythm") return "";
  // "It may also be nothing in particular" would tell nobody anything.
  return alsoPossible(event.top.filter(({ label, score }) =>
    label !== event.label && label !== "background" && score >= 0.005));
}

/** Why it is not known whether `event`, whose end was not reported, still sounds; empty when it is known. */
function doubtOf(event, room) {
  if (outOfReach(room)) return noNewsOf(room);
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
