// What was heard, by id, and the rules for what stands under "Sounding now".

const KEPT = 300;
const RECENT_MS = 15 * 60 * 1000;
const DAY_MS = 24 * 60 * 60 * 1000;

/** The newest state of each detection; a higher `change` wins, whatever the order of arrival. */
export class Detections {
  #byId = new Map();

  /** Takes `events` in and returns those that are news. */
  merge(events) {
    const news = events.filter((event) => !(this.#byId.get(event.id)?.change >= event.change));
    for (const event of news) this.#byId.set(event.id, event);
    if (this.#byId.size > KEPT * 2) this.#forget();
    return news;
  }

  /** All that are kept, newest onset first. */
  newestFirst() {
    return [...this.#byId.values()].sort(newestFirst);
  }

  active() {
    return this.newestFirst().filter((event) => event.active);
  }

  clear() {
    this.#byId.clear();
  }

  #forget() {
    const old = this.newestFirst().filter((event) => !event.active).slice(KEPT);
    for (const event of old) this.#byId.delete(event.id);
  }
}

/** Order of detections: newest onset first, then by id so that equals keep their places. */
export function newestFirst(one, other) {
  return compare(other.onset, one.onset) || compare(other.id, one.id);
}

function compare(one, other) {
  return one < other ? -1 : Number(one > other);
}

/**
 * Whether `event` belongs under "Sounding now": all that sounds; what was shown and ended, until a
 * person puts it away; an alarm that came and went while nobody could see it; and for a day an alarm
 * whose end was never reported. What a node reports late belongs there only while it is fresh enough
 * to matter. `how` is as in Live, `shown` says that it stands there already.
 */
export function belongsNow(event, { how, shown, now }) {
  if (event.severity === "none") return false;
  if (event.active) return true;
  const age = now - Date.parse(event.offset ?? event.onset);
  const isAlarm = event.severity === "alarm";
  if (event.late && age > (isAlarm ? DAY_MS : RECENT_MS)) return false;
  if (shown) return true;
  if (how !== "loaded") return !isAlarm || age < DAY_MS;
  return isAlarm && age < (event.offset ? RECENT_MS : DAY_MS);
}

/** How long `event`, which has ended, lasted, in seconds. */
export function secondsLong(event) {
  return (Date.parse(event.offset) - Date.parse(event.onset)) / 1000;
}
