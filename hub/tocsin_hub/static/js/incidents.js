// Incidents by id: one matter each, however many rooms hear it, and the rules for what stands on the page.

const KEPT = 200;
const RECENT_MS = 15 * 60 * 1000;
const DAY_MS = 24 * 60 * 60 * 1000;

/** The newest state of each incident; a higher `change` wins, whatever the order of arrival. */
export class Incidents {
  #byId = new Map();

  /** Takes `incidents` in and returns those that are news. */
  merge(incidents) {
    const news = incidents.filter((one) => !(this.#byId.get(one.id)?.change >= one.change));
    for (const one of news) this.#byId.set(one.id, one);
    if (this.#byId.size > KEPT * 2) this.#forget();
    return news;
  }

  get(id) {
    return this.#byId.get(id);
  }

  /** Whether `event` is told of by an incident that is known here. */
  tell(event) {
    return this.#byId.has(event.incident);
  }

  /** All that are kept, the one that was opened last first. */
  newestFirst() {
    return [...this.#byId.values()].sort((one, other) => (one.opened < other.opened ? 1 : -1));
  }

  clear() {
    this.#byId.clear();
  }

  #forget() {
    const old = this.newestFirst().filter((one) => !one.active).slice(KEPT);
    for (const { id } of old) this.#byId.delete(id);
  }
}

/**
 * Whether `incident` belongs among those of now: all that last; what was shown and is over, until a person puts it
 * away; and an alarm that is over and that nobody acknowledged, for a day. `how` is as in Live.
 */
export function incidentBelongs(incident, { how, shown, now }) {
  if (incident.active) return true;
  const age = now - Date.parse(incident.cleared);
  const isAlarm = incident.severity === "alarm";
  if (incident.late && age > (isAlarm ? DAY_MS : RECENT_MS)) return false;
  if (shown) return true;
  const told = incident.acknowledged !== null;
  if (how !== "loaded") return age < (isAlarm && !told ? DAY_MS : RECENT_MS);
  return isAlarm && age < (told ? RECENT_MS : DAY_MS);
}

/** Up to `most` labels that the events of one incident may be, the likeliest first, with the best score of each. */
export function candidatesOf(events, most = 3) {
  const best = new Map();
  for (const { top } of events) {
    for (const { label, score } of top) best.set(label, Math.max(score, best.get(label) ?? 0));
  }
  // "It may also be nothing in particular" would tell nobody anything.
  best.delete("background");
  const sorted = [...best].filter(([, score]) => score >= 0.005).sort(([, one], [, other]) => other - one);
  return sorted.slice(0, most).map(([label, score]) => ({ label, score }));
}
