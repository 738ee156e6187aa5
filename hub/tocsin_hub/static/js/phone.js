// Whether this phone shows notifications: it is registered anew whenever the page is opened, because
// subscriptions end silently. Says in words what is missing, and lets the reader try.

import { ask } from "./api.js";
import { now } from "./clock.js";
import { setMark, setText, showText } from "./dom.js";
import { formatDuration, formatSince, language, t } from "./i18n.js";
import { send } from "./send.js";

const LOST_MS = 20000;
const REGISTER_MS = 20000;
const LOOK_MS = 500;
const ROOT = document.documentElement.dataset.root;
const MARKS = { reached: "check", waiting: "starting", unknown: "phone", off: "warning", wrong: "warning" };

/** `parts` are the elements of the section; `check()` asks the hub anew. */
export class Phone {
  #parts;
  #check;
  #state = "unknown";
  #error = "";
  #id = null;
  #now = null;
  #tried = null;

  constructor(parts, check) {
    this.#parts = parts;
    this.#check = check;
    parts.on.addEventListener("click", () => this.#turnOn());
    parts.off.addEventListener("click", () => this.#turnOff());
    parts.test.addEventListener("click", () => this.#test());
  }

  async start() {
    if (!("serviceWorker" in navigator)) return this.#become(window.isSecureContext ? "unsupported" : "insecure");
    try {
      await navigator.serviceWorker.register(`${ROOT}/sw.js`, { scope: `${ROOT}/`, updateViaCache: "none" });
    } catch (error) {
      return this.#become("failed", error);
    }
    navigator.serviceWorker.addEventListener("message", () => this.#check());
    if (!("PushManager" in window) || !("Notification" in window)) return this.#become("unsupported");
    if (Notification.permission === "granted") return this.#register();
    return this.#become(Notification.permission === "denied" ? "denied" : "off");
  }

  /** Takes the hub's answer in: whether this very phone showed its last check. */
  take(answer) {
    this.#now = answer;
    this.#show();
  }

  async #turnOn() {
    const permission = await Notification.requestPermission();
    if (permission === "granted") return this.#register();
    return this.#become(permission === "denied" ? "denied" : "off");
  }

  async #turnOff() {
    try {
      const worker = await navigator.serviceWorker.ready;
      await (await worker.pushManager.getSubscription())?.unsubscribe();
      if (this.#id) await send("DELETE", `me/phones/${this.#id}`);
      this.#id = null;
      this.#become("off");
    } catch (error) {
      this.#become("failed", error);
    }
    this.#check();
  }

  async #register() {
    try {
      const { key } = await ask("me/phones/key");
      const worker = await navigator.serviceWorker.ready;
      const subscription = await inTime(subscribe(worker.pushManager, key));
      const { endpoint, keys } = subscription.toJSON();
      const { id } = await send("POST", "me/phones", { endpoint, keys, language });
      this.#id = id;
      this.#become("on");
      this.#check();
    } catch (error) {
      this.#become("failed", error);
    }
  }

  /** Sends a test to the phone and looks for its word that it showed it. */
  async #test() {
    const begun = now();
    this.#tell("me.test_sent");
    this.#parts.test.disabled = true;
    try {
      const { phones } = await send("POST", "me/phones/test", {});
      const mine = phones[this.#id];
      if (mine && !mine.accepted) this.#tell("me.test_refused", { error: mine.error });
      else await this.#awaitShown(begun);
    } catch (error) {
      this.#tell("me.test_refused", { error: error.message });
    }
    this.#parts.test.disabled = false;
  }

  async #awaitShown(begun) {
    while (now() - begun < LOST_MS) {
      const { phones } = await ask("me/phones");
      const shown = Date.parse(phones.find(({ id }) => id === this.#id)?.shown ?? "");
      if (shown >= begun) return this.#tell("me.test_shown", { duration: formatDuration((shown - begun) / 1000) });
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    return this.#tell("me.test_lost", { duration: formatDuration(LOST_MS / 1000) });
  }

  #tell(key, values = {}) {
    setText(this.#parts.tried, t(key, values));
  }

  #become(state, error = null) {
    this.#state = state;
    this.#error = error === null ? "" : error.message;
    this.#show();
  }

  #show() {
    const [kind, heading, text] = this.#words();
    this.#parts.state.dataset.state = kind;
    setMark(this.#parts.state.firstElementChild, MARKS[kind]);
    setText(this.#parts.state.lastElementChild, heading);
    showText(this.#parts.text, text);
    this.#parts.on.hidden = !["off", "failed"].includes(this.#state);
    this.#parts.test.hidden = this.#parts.off.hidden = this.#state !== "on";
  }

  /** Kind of state, heading and explanation. */
  #words() {
    if (this.#state === "unknown") return ["unknown", t("me.loading"), ""];
    if (this.#state !== "on") return this.#wordsOff();
    const mine = this.#now?.phones.find(({ id }) => id === this.#id);
    if (!mine) return ["unknown", t("me.phone_registered"), t("me.phone_unchecked")];
    if (mine.failures) return ["wrong", t("me.phone_refused"), mine.error];
    const time = (iso) => formatSince(Date.parse(iso), now());
    if (mine.shown && (!mine.checked || mine.shown >= mine.checked)) {
      return ["reached", t("me.phone_reached", { time: time(mine.shown) }), ""];
    }
    if (!mine.checked) return ["unknown", t("me.phone_registered"), t("me.phone_unchecked")];
    if (this.#now.reach === "waiting") return ["waiting", t("me.phone_waiting"), ""];
    return ["wrong", t("me.phone_lost", { time: time(mine.checked) }), t("me.phone_lost_text")];
  }

  #wordsOff() {
    const kind = this.#state === "off" ? "off" : "wrong";
    const iphone = /iPhone|iPad/.test(navigator.userAgent) && !matchMedia("(display-mode: standalone)").matches;
    if (this.#state === "unsupported" && iphone) return [kind, t("me.phone_off_heading"), t("me.iphone_install")];
    const texts = {
      off: t("me.phone_off_text"), denied: t("me.phone_denied"), insecure: t("me.phone_insecure"),
      unsupported: t("me.phone_unsupported"), failed: t("me.phone_failed", { error: this.#error }),
    };
    return [kind, t("me.phone_off_heading"), texts[this.#state]];
  }
}

/** The subscription with the hub's key; one that was made with another key is worth nothing. */
async function subscribe(manager, key) {
  const known = await manager.getSubscription();
  if (known && sameKey(known.options?.applicationServerKey, key)) return known;
  await known?.unsubscribe();
  return manager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
}

/** A push service that cannot be reached lets the browser wait for ever. */
function inTime(promise) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error(t("me.phone_no_service"))), REGISTER_MS));
  return Promise.race([promise, late]);
}

function sameKey(buffer, key) {
  if (!buffer) return true; // a browser that does not tell
  const text = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "") === key;
}
