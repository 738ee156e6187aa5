// The page of drills: times in the reader's own time zone, and the alarms that sound meanwhile.

import { formatFull, formatSince, t } from "./i18n.js";
import { setText } from "./dom.js";
import { Watch } from "./watch.js";

for (const span of document.querySelectorAll(".drill-span")) {
  const [from, until] = [Date.parse(span.dataset.from), Date.parse(span.dataset.until)];
  setText(span, t("drill.span", { from: formatFull(from), until: formatSince(until, from) }));
}
new Watch().start();
