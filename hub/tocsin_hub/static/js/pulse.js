// What concerns this person, as the hub has it. Every question gets the whole answer; the socket only says
// when to ask, and a question goes out every few seconds even if it says nothing.

import { ask, SignedOut } from "./api.js";
import { setServerTime } from "./clock.js";
import { Connection, RETRY_MS } from "./connection.js";

const CHECK_MS = 5000;
const HINTS = ["hello", "incident", "room"];

/**
 * Tells `listener.news(answer)`, `listener.alert(message)`, which says that this page is one of the ways on
 * which an alert is sent, and `listener.mode(name, since)`: connecting, live, reconnecting and stale.
 */
export class Pulse {
  #listener;
  #connection;
  #asking = false;
  #again = false;
  #timer = 0;

  constructor(listener) {
    this.#listener = listener;
    const hints = HINTS.map((name) => [name, () => this.check()]);
    this.#connection = new Connection({
      messages: { ...Object.fromEntries(hints), alert: (message) => this.#alerted(message) },
      check: () => this.check(),
      refused: () => this.check(),
      mode: (name, since) => listener.mode(name, since),
    });
  }

  start() {
    this.#connection.start();
    this.check();
  }

  #alerted(message) {
    this.#listener.alert(message);
    this.check();
  }

  /** Asks soon: at once, or when the question that is under way has its answer. */
  async check() {
    this.#again = this.#asking;
    if (this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    try {
      const answer = await ask("me/now");
      setServerTime(answer.at);
      this.#listener.news(answer);
      this.#connection.found();
    } catch (error) {
      if (error instanceof SignedOut) location.reload();
      this.#connection.lost();
    }
    this.#asking = false;
    if (this.#again) this.check();
    else this.#timer = setTimeout(() => this.check(), this.#connection.mode === "live" ? CHECK_MS : RETRY_MS);
  }
}
