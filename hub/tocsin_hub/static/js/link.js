// Says how far the page can be trusted: live, or since when not. Title, sign in the header, and a note.

import { now } from "./clock.js";
import { el, mark, setText } from "./dom.js";
import { formatSince, t } from "./i18n.js";

const NOTE_MS = 20000;

export class Link {
  #sign;
  #note;
  #title = document.title;
  #alarms = 0;
  #lostAt = null;
  #noteTimer = 0;
  mode = "connecting";

  constructor(sign, note) {
    this.#sign = sign;
    this.#note = note;
  }

  get live() {
    return this.mode === "live";
  }

  /** Shows `mode`; `since` is when the hub was last heard, or null. */
  enter(mode, since) {
    const back = mode === "live" && this.mode === "stale" && this.#lostAt !== null;
    this.mode = mode;
    document.body.dataset.mode = mode;
    this.#sign.dataset.mode = mode;
    const time = since === null ? "" : formatSince(since, now());
    setText(this.#sign.lastElementChild, signText(mode, time));
    if (mode === "stale") this.#tell(time ? t("link.stale_note", { time }) : t("link.never_note"), "stale");
    if (back) this.#tell(t("link.back_note", { time: formatSince(this.#lostAt, now()) }), "back");
    if (mode === "stale") this.#lostAt = since;
    this.showAlarms(this.#alarms);
  }

  /** Puts the number of alarms that sound into the title, where a background tab shows it. */
  showAlarms(count) {
    this.#alarms = count;
    const counted = count ? t("title.alarms", { count, title: this.#title }) : this.#title;
    const trusted = this.live || this.mode === "connecting";
    document.title = trusted ? counted : t("title.not_live", { title: counted });
  }

  #tell(text, kind) {
    clearTimeout(this.#noteTimer);
    this.#note.replaceChildren(el("p", { class: `banner banner-${kind}` },
      mark(kind === "stale" ? "offline" : "check"), el("span", {}, text)));
    if (kind === "back") this.#noteTimer = setTimeout(() => this.#note.replaceChildren(), NOTE_MS);
  }
}

function signText(mode, time) {
  if (mode !== "stale") return t(`link.${mode}`);
  return time ? t("link.stale", { time }) : t("link.never");
}
