// The worker's cards: one for each sound in her rooms, with three big answers. A card goes away only when the
// sound has ended and its reader puts it away.

import { now } from "./clock.js";
import { arrange, el, mark, setMark, setText, showText } from "./dom.js";
import { formatAgo, formatMoment, formatSince, mayBe, named, t } from "./i18n.js";

const ANSWERS = ["safe", "need_help", "false_alarm"];
const STORED = "tocsin.me.put_away";
const STORED_KEPT = 200;

/** Shows incidents in `alarms` and `others`; `send(incident, answer)` returns the incident as it is then. */
export class Alerts {
  #regions;
  #send;
  #say;
  #cards = new Map();
  #putAway = readPutAway();
  #kept = new Set();
  #person = "";

  constructor(alarms, others, { send, say }) {
    this.#regions = { alarms, others };
    this.#send = send;
    this.#say = say;
  }

  /** Takes the whole list in; returns the incidents that were not there before and may be new to the reader. */
  take(incidents, person) {
    this.#person = person;
    const fresh = incidents.filter(({ id, active, late }) => active && !late && !this.#cards.has(id));
    const shown = new Set(incidents.map(({ id }) => id));
    for (const id of this.#cards.keys()) if (!shown.has(id) && !this.#kept.has(id)) this.#cards.delete(id);
    for (const incident of incidents) this.#takeOne(incident);
    this.#arrange();
    this.refresh();
    return fresh;
  }

  /** Shows one more incident, which the reader asked for or was alerted of, until she puts it away. */
  keep(incident) {
    this.#putAway.delete(incident.id);
    this.#kept.add(incident.id);
    this.#takeOne(incident);
    this.#arrange();
  }

  /** Ids of the incidents that are shown although no list holds them. */
  get kept() {
    return [...this.#kept];
  }

  has(id) {
    return this.#cards.has(id);
  }

  refresh() {
    for (const card of this.#cards.values()) card.refresh(this.#person);
  }

  get sounding() {
    return [...this.#cards.values()].map(({ incident }) => incident).filter(({ active }) => active);
  }

  get size() {
    return this.#cards.size;
  }

  /** Brings the card of incident `id` into view; false if there is none. */
  reveal(id) {
    const card = this.#cards.get(id);
    card?.element.scrollIntoView({ block: "start" });
    return card !== undefined;
  }

  #takeOne(incident) {
    const known = this.#cards.get(incident.id);
    // An answer that is under way may be newer than a list that was asked for before it.
    if (known) known.incident = incident.change >= known.incident.change ? incident : known.incident;
    else if (incident.active || !this.#putAway.has(incident.id)) this.#cards.set(incident.id, this.#card(incident));
  }

  #card(incident) {
    return new Card(incident, {
      answer: (card, answer) => this.#answer(card, answer),
      putAway: (card) => this.#remove(card),
    });
  }

  async #answer(card, answer) {
    card.state = { answer, sending: true };
    card.refresh(this.#person);
    try {
      card.incident = await this.#send(card.incident, answer);
      card.state = null;
      this.#say(named("phone_answered", answer));
    } catch {
      card.state = { answer, sending: false };
      this.#say(t("me.answer_failed"));
    }
    card.refresh(this.#person);
  }

  #remove(card) {
    this.#putAway.add(card.incident.id);
    storePutAway(this.#putAway);
    this.#kept.delete(card.incident.id);
    this.#cards.delete(card.incident.id);
    this.#arrange();
    document.getElementById("content").focus();
  }

  #arrange() {
    const cards = [...this.#cards.values()].sort(newestFirst);
    const elements = (alarm) =>
      cards.filter(({ incident }) => isAlarm(incident) === alarm).map(({ element }) => element);
    arrange(this.#regions.alarms, elements(true));
    arrange(this.#regions.others, elements(false));
  }
}

export function isAlarm({ severity }) {
  return severity === "alarm";
}

function newestFirst({ incident: one }, { incident: other }) {
  return Number(other.active) - Number(one.active) || Date.parse(other.opened) - Date.parse(one.opened);
}

class Card {
  #parts;
  state = null;

  constructor(incident, { answer, putAway }) {
    this.incident = incident;
    const parts = {
      mark: mark("alarm"), severity: el("span"), drill: el("strong", { class: "me-drill" }, t("me.drill")),
      ago: el("p", { class: "me-ago", "aria-hidden": "true" }), sound: el("h2"), room: el("p", { class: "me-room" }),
      facts: el("p", { class: "me-facts" }), help: el("p", { class: "me-help" }), known: el("p", { class: "me-facts" }),
      said: el("p", { class: "me-said" }), group: el("div", { class: "me-answers", role: "group" }),
      putAway: el("button", { class: "button", type: "button" }, t("me.put_away")), buttons: {},
    };
    for (const name of ANSWERS) {
      const button = el("button", { class: `me-answer me-${name}`, type: "button", "aria-pressed": "false" },
        mark(name), el("span", {}, named("phone_answer", name)));
      button.addEventListener("click", () => answer(this, name));
      parts.buttons[name] = button;
      parts.group.append(button);
    }
    parts.putAway.addEventListener("click", () => putAway(this));
    this.#parts = parts;
    this.element = el("article", { class: "me-card", "data-id": incident.id },
      parts.drill,
      el("p", { class: "me-kind" }, parts.mark, parts.severity),
      parts.sound, parts.room, parts.ago, parts.facts, parts.help, parts.said, parts.group, parts.known,
      parts.putAway);
    this.refresh("");
  }

  refresh(person) {
    const { incident } = this;
    const parts = this.#parts;
    const over = !incident.active;
    const trouble = incident.kind === "trouble";
    this.element.dataset.severity = incident.severity;
    this.element.dataset.over = String(over);
    setMark(parts.mark, trouble ? "offline" : incident.severity);
    setText(parts.severity, severityLine(incident));
    parts.drill.hidden = !incident.drill;
    setText(parts.sound, trouble ? named("trouble", incident.label) : mayBe(incident.label));
    setText(parts.room, incident.origin_room || incident.zone || t("phone.no_room"));
    setText(parts.ago, over ? "" : formatAgo(Date.parse(incident.opened), now()));
    parts.ago.hidden = over;
    setText(parts.facts, facts(incident));
    showText(parts.help, incident.help ? t("me.help_asked", { time: formatSince(Date.parse(incident.help), now()) }) : "");
    showText(parts.known, incident.acknowledged
      ? t("me.acknowledged", { time: formatSince(Date.parse(incident.acknowledged), now()) }) : "");
    parts.group.hidden = trouble;
    parts.group.setAttribute("aria-label", t("me.answers", { sound: named("label", incident.label) }));
    parts.putAway.hidden = !over;
    this.#refreshAnswers(person);
  }

  #refreshAnswers(person) {
    const mine = this.incident.answers.find((one) => one.person === person);
    const chosen = this.state?.answer ?? mine?.answer;
    for (const [name, button] of Object.entries(this.#parts.buttons)) {
      button.setAttribute("aria-pressed", String(name === chosen && !this.state));
      button.dataset.sending = String(name === this.state?.answer && this.state.sending);
    }
    const { said } = this.#parts;
    said.dataset.kind = this.state ? (this.state.sending ? "sending" : "failed") : "sent";
    if (this.state) setText(said, t(this.state.sending ? "me.answer_sending" : "me.answer_failed"));
    else if (mine) setText(said, t("me.answered", { answer: named("phone_answer", mine.answer), time: formatSince(Date.parse(mine.at), now()) }));
    said.hidden = !this.state && !mine;
  }
}

function severityLine(incident) {
  const words = [named("phone_severity", incident.severity)];
  if (!incident.active) words.push(t("now.over"));
  if (incident.late) words.push(t("now.late"));
  return words.join(" · ");
}

function facts(incident) {
  const words = [t("now.started", { time: formatMoment(Date.parse(incident.opened), now()) })];
  if (incident.cleared) words.push(t("me.ended", { time: formatMoment(Date.parse(incident.cleared), now()) }));
  if (incident.nodes.length > 1) words.push(t("me.heard_in", { rooms: incident.nodes.map(({ room }) => room).join(", ") }));
  if (incident.unheard?.length) words.push(t("me.unheard"));
  return words.join(" · ");
}

function readPutAway() {
  try {
    return new Set(JSON.parse(localStorage.getItem(STORED) ?? "[]"));
  } catch {
    return new Set();
  }
}

function storePutAway(ids) {
  try {
    localStorage.setItem(STORED, JSON.stringify([...ids].slice(-STORED_KEPT)));
  } catch {
    // A browser that keeps nothing shows it again after a reload.
  }
}
