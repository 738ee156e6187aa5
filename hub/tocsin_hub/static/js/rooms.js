// The rooms: one card each, brought up to date in place, so that focus and open details stay.

import { now } from "./clock.js";
import { arrange, el, mark, setMark, setText, showText } from "./dom.js";
import { byName, formatAgo, formatDbfs, formatSince, named, t } from "./i18n.js";

const QUIETEST_DBFS = -90;
const CLIPPED_RATIO = 0.001;
const STATES = ["listening", "silent", "absent", "starting", "offline", "unknown"];

/** Shows rooms in `list`, and how many of them are listened to in `summary`. */
export class Rooms {
  #list;
  #summary;
  #cards = new Map();

  constructor(list, summary) {
    this.#list = list;
    this.#summary = summary;
  }

  /** Takes news of `rooms` in; when they are the `whole` list, a room that is not in it is gone. */
  take(rooms, whole) {
    if (whole) {
      const nodes = new Set(rooms.map((room) => room.node));
      for (const node of this.#cards.keys()) if (!nodes.has(node)) this.#cards.delete(node);
    }
    for (const room of rooms) {
      const known = this.#cards.get(room.node);
      if (known) known.room = room;
      else this.#cards.set(room.node, new RoomCard(room));
    }
    this.#arrange();
  }

  get size() {
    return this.#cards.size;
  }

  /** Every room that is known. */
  get all() {
    return [...this.#cards.values()].map(({ room }) => room);
  }

  /** Brings the reader to the room of `node`, its details open. */
  open(node) {
    const details = this.#cards.get(node)?.element.querySelector("details");
    if (!details) return;
    details.open = true;
    details.querySelector("summary").focus();
    details.closest(".room").scrollIntoView({ block: "nearest" });
  }

  get listening() {
    return [...this.#cards.values()].filter(({ room }) => room.state === "listening").length;
  }

  /** Brings the cards up to date; `active` are the detections that last, `live` whether all this is known. */
  refresh(active, live) {
    for (const card of this.#cards.values()) {
      card.refresh(active.find((event) => event.node === card.room.node), live);
    }
    showText(this.#summary, this.size ? t("rooms.summary", { listening: this.listening, total: this.size }) : "");
  }

  #arrange() {
    const cards = [...this.#cards.values()].sort((one, other) => order(one.room, other.room));
    arrange(this.#list, cards.map((card) => card.element));
  }
}

function order(one, other) {
  return byName(one.zone, other.zone) || byName(one.room, other.room) || byName(one.node, other.node);
}

class RoomCard {
  #parts;
  #details = {};

  constructor(room) {
    this.room = room;
    const parts = {
      name: el("h3"), zone: el("p", { class: "faint" }), state: el("span"), stateMark: mark("unknown"),
      sound: el("span"), soundMark: mark("warning"), bar: el("span", { class: "level-bar", "aria-hidden": "true" }),
      level: el("span", { class: "level-text" }), trouble: el("p", { class: "room-trouble" }),
      troubles: el("ul", { class: "room-troubles" }), remarks: el("p", { class: "room-remarks" }), seen: el("span"),
      details: el("dl"),
    };
    parts.soundLine = el("p", { class: "room-sound" }, parts.soundMark, parts.sound);
    this.#parts = parts;
    this.element = this.#build(parts);
  }

  #build(parts) {
    return el("li", { class: "room", "data-node": this.room.node },
      el("div", { class: "room-head" }, el("div", { class: "room-name" }, parts.name, parts.zone),
        el("p", { class: "state" }, parts.stateMark, parts.state)),
      parts.soundLine,
      el("p", { class: "level" }, el("span", { class: "unseen" }, t("rooms.level")), parts.bar, parts.level),
      parts.trouble, parts.troubles, parts.remarks,
      el("details", {}, el("summary", {}, parts.seen, el("span", { class: "more" }, t("rooms.details"))), parts.details));
  }

  refresh(sounding, live) {
    const { room } = this;
    const parts = this.#parts;
    const state = STATES.includes(room.state) ? room.state : "unknown";
    this.element.dataset.state = state;
    this.element.dataset.sounding = sounding?.severity ?? "";
    setText(parts.name, room.room || room.node);
    setText(parts.zone, room.zone);
    setMark(parts.stateMark, state);
    const name = named("state", state);
    setText(parts.state, live ? name : t("state.last_known", { state: name }));
    this.#refreshSound(sounding);
    this.#refreshLevel(state === "listening" && live ? room.level_dbfs : null);
    showText(parts.trouble, trouble(room, state));
    this.#refreshTroubles();
    showText(parts.remarks, remarks(room).join(" "));
    setText(parts.seen, room.last_seen
      ? t("rooms.last_seen", { ago: formatAgo(Date.parse(room.last_seen), now()) })
      : t("rooms.never_seen"));
    this.#refreshDetails();
  }

  #refreshSound(sounding) {
    this.#parts.soundLine.hidden = sounding === undefined;
    if (sounding === undefined) return;
    setMark(this.#parts.soundMark, sounding.severity);
    const ago = formatAgo(Date.parse(sounding.onset), now());
    setText(this.#parts.sound, t("rooms.heard", { sound: named("label", sounding.label), ago }));
  }

  #refreshLevel(level) {
    this.#parts.bar.style.setProperty("--level", levelShare(level));
    setText(this.#parts.level, level === null ? t("rooms.level_none") : formatDbfs(level));
  }

  #refreshTroubles() {
    const list = this.#parts.troubles;
    const lines = (this.room.troubles ?? []).map(({ kind, since }) =>
      t("rooms.trouble_since", { trouble: named("trouble", kind), time: formatSince(Date.parse(since), now()) }));
    while (list.children.length > lines.length) list.lastElementChild.remove();
    while (list.children.length < lines.length) list.append(el("li"));
    lines.forEach((line, place) => setText(list.children[place], line));
    list.hidden = lines.length === 0;
  }

  #refreshDetails() {
    for (const [name, text] of Object.entries(detailsOf(this.room))) {
      if (!(name in this.#details)) {
        this.#details[name] = el("dd");
        this.#parts.details.append(el("div", {}, el("dt", {}, t(`detail.${name}`)), this.#details[name]));
      }
      setText(this.#details[name], text || "–");
    }
  }
}

function trouble(room, state) {
  if (state === "listening") return "";
  return state === "starting" ? t("rooms.starting") : whyDeaf(room, state);
}

/** How far a level fills its bar, 0 to 1. */
export function levelShare(level) {
  return level === null ? "0" : Math.min(1, Math.max(0, 1 - level / QUIETEST_DBFS)).toFixed(3);
}

/** Since when nobody listens to `room`, and why. */
export function whyDeaf(room, state = room.state) {
  const why = named("why", state);
  if (!room.since) return why;
  return `${t("rooms.not_listened", { time: formatSince(Date.parse(room.since), now()) })} ${why}`;
}

function remarks(room) {
  const found = [];
  if (room.keeps_clips) found.push(t("rooms.keeps_clips"));
  if (room.clipped_ratio > CLIPPED_RATIO) found.push(t("rooms.clipping"));
  if (room.dropped_blocks > 0) found.push(t("rooms.dropped", { count: room.dropped_blocks }));
  if (room.outbox_depth > 0) found.push(t("rooms.waiting", { count: room.outbox_depth }));
  return found;
}

function detailsOf(room) {
  const hop = room.hop_seconds;
  const inference = room.inference_p95_ms;
  return {
    node: room.node,
    zone: room.zone,
    source: room.source,
    troubles: (room.troubles ?? []).map(({ detail }) => detail).filter(Boolean).join("; "),
    labels: (room.labels ?? []).map((label) => named("label", label)).join(", "),
    hop_seconds: hop ? t("format.seconds", { seconds: hop }) : "",
    inference_p95_ms: typeof inference === "number" ? t("format.ms", { number: Math.round(inference) }) : "",
    bundle: room.bundle,
    runtime: room.runtime,
    version: room.version,
    hardware: room.hardware,
  };
}
