// What the cards under "Sounding now" have in common.

import { now } from "./clock.js";
import { arrange, el, setText } from "./dom.js";
import { formatDbfs, formatPercent, formatSince, named, t } from "./i18n.js";

const OUT_OF_REACH = ["offline", "unknown"];

/** Shows short `facts` beside one another in `line`. */
export function showFacts(line, facts) {
  arrange(line, facts.map((fact, place) => line.children[place] ?? el("span", {}, fact)));
  facts.forEach((fact, place) => setText(line.children[place], fact));
}

/** "Score 94%", or nothing where the network's score is not what the alarm rests on. */
export function scoreOf(event) {
  return event.certainty === "rhythm" ? "" : t("now.score", { score: formatPercent(event.score) });
}

/** How loud `event` is and how loud the room was before; empty for digital silence. */
export function loudnessOf(event) {
  if (event.level_dbfs === null) return "";
  const level = formatDbfs(event.level_dbfs);
  if (event.ambient_dbfs === null) return t("now.level", { level });
  return t("now.level_above", { level, ambient: formatDbfs(event.ambient_dbfs) });
}

/** "Also possible: …" for `others`, a list of labels with their scores. */
export function alsoPossible(others) {
  if (others.length === 0) return "";
  const sounds = others.map(({ label, score }) =>
    t("now.candidate", { sound: named("label", label), score: formatPercent(score) }));
  return t("now.candidates", { sounds: sounds.join(", ") });
}

/** Whether nothing can be known of `room` at the moment. */
export function outOfReach(room) {
  return room !== undefined && OUT_OF_REACH.includes(room.state);
}

/** Since when there is no news from `room`, and what that means for a sound that has no end yet. */
export function noNewsOf(room) {
  return t("now.no_news", { time: formatSince(Date.parse(room.last_seen ?? room.since), now()) });
}
