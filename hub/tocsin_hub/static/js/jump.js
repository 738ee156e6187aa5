// A strip at the foot of the screen while the newest alarm sounds above what the reader looks at.

import { setText } from "./dom.js";
import { named, t } from "./i18n.js";

const SEEN_SHARE = 0.3;

export class Jump {
  #strip;
  #region;
  #alarms = [];
  #card = null;
  #inView = true;
  #observer = new IntersectionObserver((entries) => this.#seen(entries), { threshold: SEEN_SHARE });

  /** `strip` is a link to `region`, where the cards of the alarms stand. */
  constructor(strip, region) {
    this.#strip = strip;
    this.#region = region;
  }

  /** Takes the alarms that sound, newest first, each with `id`, `label` and `room`. */
  take(alarms) {
    this.#alarms = alarms;
    const card = alarms.length ? this.#region.querySelector(`[data-id="${CSS.escape(alarms[0].id)}"]`) : null;
    if (card !== this.#card) this.#watch(card);
    this.#show();
  }

  #watch(card) {
    this.#observer.disconnect();
    this.#card = card;
    this.#inView = true;
    if (card) this.#observer.observe(card);
  }

  #seen(entries) {
    this.#inView = entries.at(-1).intersectionRatio >= SEEN_SHARE;
    this.#show();
  }

  #show() {
    this.#strip.hidden = this.#card === null || this.#inView;
    if (this.#strip.hidden) return;
    const [newest, ...more] = this.#alarms;
    const words = { sound: named("label", newest.label), room: newest.room, count: more.length };
    setText(this.#strip.lastElementChild, t(more.length ? "now.jump_more" : "now.jump", words));
  }
}
