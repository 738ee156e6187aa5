// The connection to the hub. Its socket is only a hint and replays nothing; the hub's database is the
// truth. So the cursor moves by what was fetched, never by what was pushed, and every connect, every
// return to the page and every few seconds ask for what came after it.

import { ask, SignedOut } from "./api.js";
import { setServerTime } from "./clock.js";
import { Connection, RETRY_MS } from "./connection.js";
import { confirmShown } from "./told.js";

const CHECK_MS = 6000;
const BATCH_MS = 100;
const PAGE = 500;
const RECENT = 50;

/**
 * Tells `listener` what the hub says:
 * `rooms(list, whole)`, where `whole` says that there are no others, `incidents(list, how)` and `events(list, how)`
 * with `how` one of "loaded" (the first picture), "missed" (fetched after a loss) and "live", `drills(list)` with the
 * newest ones, `rollout(rollout)` with one that changed, `reset()` when the hub has another database, and
 * `mode(name, since)` with the modes connecting, live, reconnecting and stale.
 */
export class Live {
  #listener;
  #connection;
  #change = null;
  #cursors = null;
  #round = 0;
  #timer = 0;
  #batch = { rooms: [], incidents: [], events: [] };
  #flushTimer = 0;
  #flushedAt = 0;

  constructor(listener) {
    this.#listener = listener;
    this.#connection = new Connection({
      messages: {
        hello: (hello) => this.#greeted(hello),
        event: (event) => this.#pushed("events", event),
        incident: (incident) => this.#pushed("incidents", incident),
        room: (room) => this.#pushed("rooms", room),
        alert: confirmShown,
        rollout: (rollout) => listener.rollout(rollout),
      },
      check: () => this.#check(),
      refused: () => ask("rooms").catch((error) => error instanceof SignedOut && location.reload()),
      mode: (name, since) => listener.mode(name, since),
    });
  }

  start() {
    this.#connection.start();
  }

  #greeted(hello) {
    if (this.#cursors !== null && hello.change < Math.max(this.#cursors.events, this.#cursors.incidents)) {
      this.#cursors = null;
      this.#listener.reset();
    }
    this.#change = hello.change;
    this.#check();
  }

  /** Collects what is pushed: one at a time is shown at once, a flood ten times a second. */
  #pushed(kind, item) {
    // Before the first picture stands, a push would show a part as if it were the whole.
    if (this.#cursors === null) return;
    this.#connection.hear();
    this.#batch[kind].push(item);
    const rest = this.#flushedAt + BATCH_MS - performance.now();
    this.#flushTimer ||= setTimeout(() => this.#flush(), Math.max(0, rest));
  }

  #flush() {
    const { rooms, incidents, events } = this.#batch;
    this.#batch = { rooms: [], incidents: [], events: [] };
    this.#flushTimer = 0;
    this.#flushedAt = performance.now();
    if (rooms.length) this.#listener.rooms(rooms, false);
    // Incidents first: a sound that one of them tells of is not shown for itself.
    if (incidents.length) this.#listener.incidents(incidents, "live");
    if (events.length) this.#listener.events(events, "live");
  }

  /** One round of fetching; a newer round makes an older one void. */
  async #check() {
    if (!this.#connection.connected || this.#change === null) return;
    const round = ++this.#round;
    clearTimeout(this.#timer);
    try {
      await this.#fetchAll(() => round !== this.#round || !this.#connection.connected);
    } catch (error) {
      if (error instanceof SignedOut) location.reload();
      if (round === this.#round) this.#connection.lost();
    }
    if (round === this.#round) {
      this.#timer = setTimeout(() => this.#check(), this.#connection.mode === "live" ? CHECK_MS : RETRY_MS);
    }
  }

  async #fetchAll(outdated) {
    const [{ at, rooms }, { drills }] = await Promise.all([ask("rooms"), ask("drills")]);
    if (outdated()) return;
    setServerTime(at);
    this.#listener.rooms(rooms, true);
    this.#listener.drills(drills);
    if (this.#cursors === null) await this.#fetchRecent(outdated);
    else await this.#fetchMissed(outdated);
    if (!outdated()) this.#connection.found();
  }

  async #fetchRecent(outdated) {
    const cursor = this.#change;
    const [lasting, recent, { events }] = await Promise.all([
      ask("incidents", { active: true, limit: PAGE }), ask("incidents", { limit: RECENT }), ask("events", { limit: RECENT }),
    ]);
    if (outdated()) return;
    this.#listener.incidents([...lasting.incidents, ...recent.incidents], "loaded");
    this.#listener.events(events, "loaded");
    this.#cursors = { events: cursor, incidents: cursor };
    await this.#fetchMissed(outdated, "loaded");
  }

  async #fetchMissed(outdated, how = this.#connection.mode === "live" ? "live" : "missed") {
    for (const kind of ["incidents", "events"]) {
      for (let more = true; more; ) {
        const answer = await ask(kind, { after: this.#cursors[kind], limit: PAGE });
        if (outdated()) return;
        this.#listener[kind](answer[kind], how);
        more = answer.more && answer.next > this.#cursors[kind];
        this.#cursors[kind] = answer.next;
      }
    }
  }
}
