// The card of one incident: what it may be, where, who knows of it, and what can be done.

import { SignedOut, tell } from "./api.js";
import { alsoPossible, loudnessOf, noNewsOf, outOfReach, scoreOf, showFacts } from "./cards.js";
import { now } from "./clock.js";
import { arrange, el, mark, setText, showText } from "./dom.js";
import { formatAgo, formatDbfs, formatDuration, formatMoment, formatSince, mayBe, named, t } from "./i18n.js";
import { candidatesOf } from "./incidents.js";

const root = document.documentElement.dataset.root;

export class IncidentCard {
  #parts;
  #dismiss;
  #sending = false;
  #failure = "";

  constructor(incident, dismiss) {
    this.news = incident;
    this.#dismiss = dismiss;
    this.#parts = this.#made();
    this.element = this.#build(this.#parts);
  }

  get id() {
    return this.news.id;
  }

  get severity() {
    return this.news.severity;
  }

  get began() {
    return this.news.opened;
  }

  get active() {
    return this.news.active;
  }

  get over() {
    return !this.news.active;
  }

  #made() {
    const parts = {
      kindMark: mark(this.severity), kind: el("span"), ago: el("span", { class: "card-ago", "aria-hidden": "true" }),
      sound: el("h3"), room: el("strong"), zone: el("span"), badges: el("p", { class: "card-badges" }),
      facts: el("p", { class: "card-figures" }), candidates: el("p"), certainty: el("p"), heard: el("p"),
      answers: el("ul", { class: "card-answers" }), known: el("p", { class: "card-known" }),
      trouble: el("p", { class: "card-trouble", role: "status" }),
      acknowledge: el("button", { class: "button strong", type: "button" }, t("incident.acknowledge")),
      more: el("a", { class: "button", href: `${root}/incidents/${this.id}` }, t("incident.more")),
      dismiss: el("button", { class: "button dismiss", type: "button" }, t("now.dismiss")),
    };
    parts.acknowledge.addEventListener("click", () => this.#acknowledge());
    parts.dismiss.addEventListener("click", () => this.#dismiss(this));
    return parts;
  }

  #build(parts) {
    return el("article", { class: "card incident", "data-id": this.id, "data-event": this.news.first_event ?? "" },
      el("p", { class: "card-kind" }, parts.kindMark, parts.kind, parts.ago),
      parts.sound, el("p", { class: "card-room" }, parts.room, parts.zone), parts.badges,
      el("div", { class: "card-facts" }, parts.facts, parts.candidates, parts.certainty, parts.heard),
      parts.answers, parts.known, parts.trouble,
      el("div", { class: "card-actions" }, parts.acknowledge, parts.more, parts.dismiss));
  }

  /** Brings the card up to date; `eventsOf` tells what is known of its detections, the strongest first. */
  refresh({ eventsOf, roomOf }) {
    const { news } = this;
    this.element.className = `card incident sound-${news.severity}`;
    this.element.classList.toggle("is-over", this.over);
    this.element.classList.toggle("is-known", news.acknowledged !== null);
    this.#refreshWords(news);
    this.#refreshFacts(news, eventsOf(this.id));
    this.#refreshDoubt(news, roomOf);
    this.#refreshPeople(news);
    this.#refreshButtons(news);
  }

  #refreshWords(news) {
    const parts = this.#parts;
    parts.kindMark.firstElementChild.setAttribute("href", `#mark-${news.severity}`);
    const words = [named("severity", news.severity)];
    if (this.over) words.push(t("now.over"));
    setText(parts.kind, words.join(" · "));
    setText(parts.ago, this.over ? "" : formatAgo(Date.parse(news.opened), now()));
    setText(parts.sound, mayBe(news.label));
    setText(parts.room, news.origin_room || news.zone);
    const loudest = news.nodes.length > 1 ? t("incident.loudest_here") : "";
    setText(parts.zone, news.origin_room ? [news.zone, loudest].filter(Boolean).join(" · ") : "");
    showBadges(parts.badges, news);
  }

  #refreshFacts(news, events) {
    const parts = this.#parts;
    const strongest = events.find(({ label }) => label === news.label) ?? events[0];
    showFacts(parts.facts, [when(news), quiet(news, events), strongest ? scoreOf(strongest) : "", loudness(news, events)].filter(Boolean));
    const others = candidatesOf(events).filter(({ label }) => label !== news.label);
    const rhythmOnly = strongest?.certainty === "rhythm";
    showText(parts.candidates, rhythmOnly ? "" : alsoPossible(others));
    showText(parts.certainty, strongest ? certaintyOf(strongest) : "");
    const rooms = news.nodes.map(({ room }) => room);
    showText(parts.heard, rooms.length > 1 ? t("incident.heard_in", { rooms: rooms.join(", ") }) : "");
  }

  #refreshDoubt(news, roomOf) {
    const rooms = news.nodes.map(({ id }) => roomOf(id));
    const unheard = ({ id }) => news.unheard.includes(id) || outOfReach(roomOf(id));
    const doubt = news.active && rooms.length > 0 && rooms[0] && news.nodes.every(unheard);
    const words = [this.#failure, doubt ? noNewsOf(rooms[0]) : ""];
    showText(this.#parts.trouble, words.filter(Boolean).join(" "));
  }

  #refreshPeople(news) {
    const { answers, known } = this.#parts;
    arrange(answers, news.answers.map((_, place) => answers.children[place] ?? el("li")));
    news.answers.forEach((answer, place) => {
      answers.children[place].dataset.answer = answer.answer;
      setText(answers.children[place], answerLine(answer));
    });
    answers.hidden = news.answers.length === 0;
    setText(known, knownLine(news));
  }

  #refreshButtons(news) {
    const { acknowledge, more, dismiss } = this.#parts;
    const words = { sound: named("label", news.label), room: news.origin_room || news.zone };
    // Who pressed it goes on from the link beside it, rather than from the top of the page.
    if (news.acknowledged !== null && document.activeElement === acknowledge) more.focus();
    acknowledge.hidden = news.acknowledged !== null;
    acknowledge.setAttribute("aria-disabled", String(this.#sending));
    acknowledge.setAttribute("aria-label", t("incident.acknowledge_this", words));
    more.setAttribute("aria-label", t("incident.more_this", words));
    dismiss.hidden = news.active;
    dismiss.setAttribute("aria-label", t("now.dismiss_this", words));
  }

  async #acknowledge() {
    if (this.#sending) return;
    this.#sending = true;
    this.#failure = "";
    try {
      await tell(`incidents/${this.id}/acknowledge`);
    } catch (error) {
      if (error instanceof SignedOut) location.reload();
      this.#failure = t("incident.not_sent");
    }
    this.#sending = false;
  }
}

function when(news) {
  const time = (iso) => formatMoment(Date.parse(iso), now());
  if (news.active) return t("now.started", { time: time(news.opened) });
  const seconds = (Date.parse(news.cleared) - Date.parse(news.opened)) / 1000;
  return t("now.ended", { time: time(news.cleared), duration: formatDuration(seconds) });
}

/** Since when nothing of `news`, which lasts, is heard; empty while something is, or where that is not known. */
function quiet(news, events) {
  if (!news.active || events.length < Math.max(1, news.events) || events.some(({ active }) => active)) return "";
  const ends = events.map(({ offset }) => offset);
  if (ends.includes(null)) return "";
  return t("incident.quiet", { time: formatMoment(Date.parse(ends.sort().at(-1)), now()) });
}

function loudness(news, events) {
  const loudest = events.find(({ node }) => node === news.origin_node);
  if (loudest) return loudnessOf(loudest);
  return news.origin_level_dbfs === null ? "" : t("now.level", { level: formatDbfs(news.origin_level_dbfs) });
}

/** What an alarm rests on, in words; empty where it is the network's whole rule. */
export function certaintyOf({ rhythm, certainty }) {
  const words = [rhythm === "none" ? "" : named("rhythm", rhythm)];
  words.push(certainty === "certain" ? "" : named("certainty", certainty));
  return words.filter(Boolean).join(" ");
}

/** "Kim: I am safe, 14:02:20". */
export function answerLine({ name, answer, at }) {
  const words = { name: name || t("incident.somebody"), answer: named("answer", answer) };
  return t("incident.answered", { ...words, time: formatMoment(Date.parse(at), now()) });
}

/** Who acknowledged it and when, or that nobody has. */
export function knownLine({ acknowledged, acknowledged_by: by }) {
  if (acknowledged === null) return t("incident.not_acknowledged");
  const time = formatSince(Date.parse(acknowledged), now());
  return by?.name ? t("incident.acknowledged_by", { name: by.name, time }) : t("incident.acknowledged", { time });
}

/** Puts the badges of an incident into `line`: help, drill, late. */
export function showBadges(line, { help, drill, late }) {
  const badges = [help && ["help", "incident.help"], drill && ["drill", "incident.drill"], late && ["late", "now.late"]];
  const wanted = badges.filter(Boolean);
  const signature = wanted.map(([name]) => name).join(" ");
  line.hidden = wanted.length === 0;
  if (line.dataset.shown === signature) return;
  line.dataset.shown = signature;
  line.replaceChildren(...wanted.map(([name, key]) => el("span", { class: `badge badge-${name}` }, mark(name), t(key))));
}
