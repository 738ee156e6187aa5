// What concerns this person, as the hub has it. Every question gets the whole answer; the socket only says
// when to ask, and a question goes out every few seconds even if it says nothing.

import { io } from "../vendor/socket.io.esm.min.js";
import { ask, SignedOut } from "./api.js";
import { now, setServerTime } from "./clock.js";

const CHECK_MS = 5000;
const RETRY_MS = 2000;
const GRACE_MS = 5000;
const HINTS = ["hello", "incident", "room"];

/**
 * Tells `listener.news(answer)`, `listener.alert(message)`, which says that this page is one of the ways on
 * which an alert is sent, and `listener.mode(name, since)`: connecting, live, reconnecting and stale.
 */
export class Pulse {
  #listener;
  #socket = null;
  #mode = "connecting";
  #heard = null;
  #asking = false;
  #again = false;
  #timer = 0;
  #graceTimer = 0;

  constructor(listener) {
    this.#listener = listener;
  }

  start() {
    const path = `${document.documentElement.dataset.root}/socket.io`;
    this.#socket = io("/live", {
      path, transports: ["websocket", "polling"], tryAllTransports: true,
      reconnectionDelay: 500, reconnectionDelayMax: 4000, timeout: 8000,
    });
    for (const name of HINTS) this.#socket.on(name, () => this.check());
    this.#socket.on("alert", (message) => {
      this.#listener.alert(message);
      this.check();
    });
    this.#socket.on("disconnect", (reason) => {
      this.#lost();
      if (reason === "io server disconnect") setTimeout(() => this.#socket.connect(), RETRY_MS);
    });
    this.#socket.on("connect_error", () => {
      this.check();
      if (!this.#socket.active) setTimeout(() => this.#socket.connect(), RETRY_MS);
    });
    document.addEventListener("visibilitychange", () => document.hidden || this.check());
    window.addEventListener("online", () => this.check());
    window.addEventListener("offline", () => this.#lost());
    this.#grace();
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
      this.#found();
    } catch (error) {
      if (error instanceof SignedOut) location.reload();
      this.#lost();
    }
    this.#asking = false;
    if (this.#again) this.check();
    else this.#timer = setTimeout(() => this.check(), this.#mode === "live" ? CHECK_MS : RETRY_MS);
  }

  #found() {
    this.#heard = now();
    // Without its socket the page learns of an alarm seconds later: that is not live.
    if (!this.#socket.connected) return this.#lost();
    clearTimeout(this.#graceTimer);
    this.#enter("live");
  }

  #lost() {
    if (this.#mode !== "live") return;
    this.#enter("reconnecting");
    this.#grace();
  }

  #grace() {
    clearTimeout(this.#graceTimer);
    this.#graceTimer = setTimeout(() => this.#enter("stale"), GRACE_MS);
  }

  #enter(mode) {
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.#listener.mode(mode, this.#heard);
  }
}
