// The list of what was heard of late.

import { now } from "./clock.js";
import { secondsLong } from "./detections.js";
import { arrange, el, mark, setText } from "./dom.js";
import { formatDuration, formatStart, formatPercent, named, t } from "./i18n.js";

const SHOWN = 12;

export class Recent {
  #list;
  #none;
  #rows = new Map();

  constructor(list, none) {
    this.#list = list;
    this.#none = none;
  }

  /** Shows the first of `events`, which come newest first. */
  show(events) {
    const shown = events.slice(0, SHOWN);
    const rows = new Map(shown.map((event) => [event.id, this.#rows.get(event.id) ?? new Row(event)]));
    shown.forEach((event) => rows.get(event.id).refresh(event));
    this.#rows = rows;
    arrange(this.#list, [...rows.values()].map((row) => row.element));
    this.#none.hidden = shown.length > 0;
  }
}

class Row {
  #time = el("time");
  #sound = el("span", { class: "recent-sound" });
  #room = el("span", { class: "faint" });
  #length = el("span");
  #late = el("span", { class: "tag" }, t("history.late"));
  #test = el("span", { class: "tag" }, t("history.test"));

  constructor(event) {
    this.element = el("li", { class: `sound-${event.severity}`, "data-id": event.id },
      mark(event.severity), el("div", { class: "recent-what" }, this.#sound, this.#room),
      el("div", { class: "recent-when" }, this.#time, this.#length, this.#test, this.#late));
  }

  refresh(event) {
    this.element.classList.toggle("is-active", event.active);
    this.#time.dateTime = event.onset;
    setText(this.#time, formatStart(Date.parse(event.onset), now()));
    setText(this.#sound, named("label", event.label));
    setText(this.#room, event.room || event.node);
    setText(this.#length, lengthOf(event));
    this.#late.hidden = !event.late;
    this.#test.hidden = !event.test;
  }
}

function lengthOf(event) {
  if (event.offset) return formatDuration(secondsLong(event));
  return t(event.active ? "history.sounding" : "history.end_unknown");
}
