// Says on every live page that a drill runs, where and until when.

import { now } from "./clock.js";
import { setText } from "./dom.js";
import { formatSince, t } from "./i18n.js";

export class DrillBanner {
  #banner;

  constructor(banner) {
    this.#banner = banner;
  }

  /** Shows those of `known` drills that run; none hides the banner. */
  show(known) {
    const drills = known.filter(({ active }) => active);
    this.#banner.hidden = drills.length === 0;
    const lines = drills.map(({ zones, ends }) => {
      const time = formatSince(Date.parse(ends), now());
      return zones.length ? t("drill.runs_in", { zones: zones.join(", "), time }) : t("drill.runs", { time });
    });
    setText(this.#banner.querySelector("[data-words]"), lines.join(" "));
  }
}
