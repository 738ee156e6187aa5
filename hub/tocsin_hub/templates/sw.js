// The service worker: shows a notification for EVERY push, says so to the hub, and carries answers to it.
// It keeps nothing: no page and no answer of the hub is ever read from a cache.

const WORDS = {{ words | tojson }};
const SHELL = {{ shell | tojson }};
const RETRY_MS = [0, 1000, 3000, 9000];
const FETCH_MS = 8000;
const ICON = "static/icons/any-192.png";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(pushed(event)));
self.addEventListener("notificationclick", (event) => event.waitUntil(clicked(event)));
self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(renew(event)));
self.addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate") event.respondWith(fetch(event.request).catch(offline));
});

const address = (path) => new URL(path, self.registration.scope).href;

async function pushed(event) {
  const told = read(event);
  await show(told, {});
  for (const page of await self.clients.matchAll({ type: "window" })) page.postMessage({ kind: "pushed" });
  if (!told.data.receipt) return;
  const { receipt, phone } = told.data;
  const answer = await post("api/v1/receipts", { receipt, phone: phone ?? "" }).catch(() => null);
  // The hub's clock knows how late it came; the phone's may be years off.
  if (answer?.late_note) {
    await show({ ...told, body: `${told.body}\n${answer.late_note}` }, { silent: true, renotify: false });
  }
}

/** The words of a push, whatever came: a browser takes the right to push away from a page that shows none. */
function read(event) {
  let offered = null;
  try {
    offered = event.data?.json()?.notification ?? null;
  } catch {
    offered = null;
  }
  // A browser that reads declarative messages itself hands over the notification that it made.
  offered ??= event.notification ?? event.proposedNotification ?? null;
  const data = offered?.data ?? {};
  return {
    title: String(offered?.title || WORDS.news_title),
    body: String(offered?.body ?? (offered ? "" : WORDS.news_body)),
    lang: String(offered?.lang ?? ""),
    tag: String(offered?.tag || "news"),
    silent: offered?.silent === true,
    stays: offered?.require_interaction ?? offered?.requireInteraction ?? true,
    actions: (offered?.actions ?? []).map(({ action, title }) => ({ action, title })),
    data: { ...data, navigate: String(offered?.navigate ?? address("me")) },
  };
}

async function show(told, changes) {
  const { title, body, lang, tag, data } = told;
  const most = self.Notification?.maxActions ?? 2;
  const options = {
    body, lang, tag, data, icon: address(ICON), badge: address("static/icons/badge-96.png"),
    silent: told.silent, renotify: !told.silent, requireInteraction: told.stays,
    actions: told.actions.slice(0, most || undefined), ...changes,
  };
  try {
    await self.registration.showNotification(title, options);
  } catch {
    await self.registration.showNotification(title, { body, tag, data });
  }
}

async function clicked(event) {
  const { notification, action } = event;
  const { data, tag, lang } = notification;
  if (!action || !data?.receipt) {
    notification.close();
    return open(data?.navigate ?? address("me"));
  }
  try {
    await post("api/v1/receipts/answer", { receipt: data.receipt, answer: action });
    const body = `${data.answered?.[action] ?? ""}\n${notification.body}`;
    await self.registration.showNotification(notification.title, { body, tag, lang, data, silent: true });
  } catch {
    const body = `${data.unsent ?? WORDS.news_body}\n${notification.body}`;
    await self.registration.showNotification(notification.title, { body, tag, lang, data, requireInteraction: true });
  }
}

async function open(target) {
  const url = new URL(target, self.registration.scope);
  // Never to a foreign place, whatever the message says.
  const href = url.origin === self.location.origin ? url.href : address("me");
  for (const page of await self.clients.matchAll({ type: "window", includeUncontrolled: true })) {
    if (!new URL(page.url).pathname.endsWith("/me")) continue;
    page.postMessage({ kind: "opened", href });
    return page.focus();
  }
  return self.clients.openWindow(href);
}

/** The browser has another subscription now: the hub must know it, or the person must open the page. */
async function renew(event) {
  try {
    const { key } = await (await ask("api/v1/me/phones/key")).json();
    const made = event.newSubscription
      ?? await self.registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
    const { endpoint, keys } = made.toJSON();
    await post("api/v1/me/phones", { endpoint, keys, language: self.navigator.language.slice(0, 2) }, "same-origin");
  } catch {
    await self.registration.showNotification(WORDS.renew_title,
      { body: WORDS.renew_body, tag: "renew", data: { navigate: address("me") }, requireInteraction: true });
  }
}

async function ask(path, options = { credentials: "same-origin" }) {
  const answer = await fetch(address(path), { cache: "no-store", signal: AbortSignal.timeout(FETCH_MS), ...options });
  if (!answer.ok) throw Object.assign(new Error(`${path}: ${answer.status}`), { status: answer.status });
  return answer;
}

/** Posts, and tries again while the hub cannot be reached or has no time. */
async function post(path, body, credentials = "omit") {
  let failure = null;
  for (const wait of RETRY_MS) {
    if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
    try {
      const headers = { "Content-Type": "application/json" };
      const options = { method: "POST", headers, credentials, body: JSON.stringify(body), keepalive: true };
      return await (await ask(path, options)).json();
    } catch (error) {
      failure = error;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) break;
    }
  }
  throw failure;
}

function offline() {
  const headers = {
    "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'",
  };
  return new Response(SHELL, { status: 503, headers });
}
