// A strip at the foot of the screen while alarms sound above what the reader looks at.

import { setText } from "./dom.js";
import { named, t } from "./i18n.js";

export class Jump {
  #strip;
  #alarms = [];
  #inView = true;

  /** `strip` is a link to `region`, where the alarms stand. */
  constructor(strip, region) {
    this.#strip = strip;
    const observer = new IntersectionObserver(([entry]) => {
      this.#inView = entry.isIntersecting;
      this.#show();
    });
    observer.observe(region);
  }

  /** Takes the alarms that sound, newest first. */
  take(alarms) {
    this.#alarms = alarms;
    this.#show();
  }

  #show() {
    const [newest, ...more] = this.#alarms;
    this.#strip.hidden = newest === undefined || this.#inView;
    if (newest === undefined) return;
    const words = { sound: named("label", newest.label), room: newest.room || newest.node, count: more.length };
    setText(this.#strip.lastElementChild, t(more.length ? "now.jump_more" : "now.jump", words));
  }
}
