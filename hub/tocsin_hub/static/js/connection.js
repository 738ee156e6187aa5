// The socket to the hub, and how far a page can be trusted: connecting, live, reconnecting or stale. A page is
// live when the hub has answered it and its socket stands; the socket alone says only when to ask.

import { io } from "../vendor/socket.io.esm.min.js";
import { now } from "./clock.js";

const GRACE_MS = 5000;
export const RETRY_MS = 2000;

/**
 * `messages` are handlers by the names of messages. `check()` asks the hub, whenever there may be news;
 * `refused()` comes when the socket was let in nowhere, `mode(name, since)` with each new mode, where `since` is when
 * the hub was last heard, or null.
 */
export class Connection {
  #page;
  #socket = null;
  #heard = null;
  #graceTimer = 0;
  mode = "connecting";

  constructor(page) {
    this.#page = page;
  }

  get connected() {
    return this.#socket.connected;
  }

  start() {
    const path = `${document.documentElement.dataset.root}/socket.io`;
    this.#socket = io("/live", {
      path, transports: ["websocket", "polling"], tryAllTransports: true,
      reconnectionDelay: 500, reconnectionDelayMax: 4000, timeout: 8000,
    });
    for (const [name, handler] of Object.entries(this.#page.messages)) this.#socket.on(name, handler);
    this.#socket.on("disconnect", (reason) => this.#disconnected(reason));
    this.#socket.on("connect_error", () => this.#refused());
    document.addEventListener("visibilitychange", () => document.hidden || this.#page.check());
    window.addEventListener("online", () => this.#page.check());
    window.addEventListener("offline", () => this.lost());
    this.#grace();
  }

  /** Notes that the hub has just answered. */
  found() {
    this.#heard = now();
    // Without its socket the page learns of an alarm seconds later: that is not live.
    if (!this.connected) return this.lost();
    clearTimeout(this.#graceTimer);
    this.#enter("live");
  }

  /** Notes that something came by the socket. */
  hear() {
    if (this.mode === "live") this.#heard = now();
  }

  /** Notes that the hub does not answer. */
  lost() {
    if (this.mode !== "live") return;
    this.#enter("reconnecting");
    this.#grace();
  }

  #disconnected(reason) {
    this.lost();
    // The client comes back by itself from everything but a farewell of the server.
    if (reason === "io server disconnect") setTimeout(() => this.#socket.connect(), RETRY_MS);
  }

  #refused() {
    this.lost();
    this.#page.refused();
    if (!this.#socket.active) setTimeout(() => this.#socket.connect(), RETRY_MS);
  }

  #grace() {
    clearTimeout(this.#graceTimer);
    this.#graceTimer = setTimeout(() => this.#enter("stale"), GRACE_MS);
  }

  #enter(mode) {
    if (mode === this.mode) return;
    this.mode = mode;
    this.#page.mode(mode, this.#heard);
  }
}
