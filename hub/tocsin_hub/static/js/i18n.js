// Texts, times and figures in the language of the page. The catalogue is the server's own.

const root = document.documentElement;
export const language = root.lang;
const texts = JSON.parse(document.getElementById("catalogue").textContent);

/** The text of `key` with `values` in its placeholders. */
export function t(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** The text of `family.name`; a name that has none is shown by itself, its `_` as spaces. */
export function named(family, name) {
  return texts[`${family}.${name}`] ?? name.replaceAll("_", " ");
}

/** "May be …" for a label; one that has no sentence of its own gets the general one. */
export function mayBe(label) {
  return texts[`may_be.${label}`] ?? t("may_be.other", { sound: named("label", label) });
}

const ago = new Intl.RelativeTimeFormat(language, { numeric: "always" });
const MINUTE = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const SECOND = { ...MINUTE, second: "2-digit" };
const DAY = { month: "short", day: "numeric" };
const timeOfDay = new Intl.DateTimeFormat(language, MINUTE);
const secondOfDay = new Intl.DateTimeFormat(language, SECOND);
const dayAndTime = new Intl.DateTimeFormat(language, { ...DAY, ...MINUTE });
const fullTime = new Intl.DateTimeFormat(language, { year: "numeric", ...DAY, ...SECOND });
export const byName = new Intl.Collator(language, { numeric: true }).compare;

/** How long ago `then` was, in its largest unit; both in milliseconds since 1970. */
export function formatAgo(then, now) {
  const seconds = Math.max(0, Math.round((now - then) / 1000));
  if (seconds < 60) return ago.format(-seconds, "second");
  if (seconds < 3600) return ago.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86400) return ago.format(-Math.floor(seconds / 3600), "hour");
  return ago.format(-Math.floor(seconds / 86400), "day");
}

function sameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

/** Hour and minute of `at`, with the day when that is not the day of `now`. */
export function formatSince(at, now) {
  return (sameDay(at, now) ? timeOfDay : dayAndTime).format(at);
}

/** Time of day of `at` to the second, with the date when that is not the day of `now`. */
export function formatMoment(at, now) {
  return (sameDay(at, now) ? secondOfDay : fullTime).format(at);
}

/** Time of day of `at` to the second, or its day and minute when that is not the day of `now`. */
export function formatStart(at, now) {
  return (sameDay(at, now) ? secondOfDay : dayAndTime).format(at);
}

/** Date and time of `at`, to the second. */
export function formatFull(at) {
  return fullTime.format(at);
}

/** A length of time in its two largest units. */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t("format.seconds", { seconds: whole });
  if (whole < 3600) return t("format.minutes", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
  if (whole < 86400) {
    return t("format.hours", { hours: Math.floor(whole / 3600), minutes: Math.floor((whole % 3600) / 60) });
  }
  return t("format.days", { days: Math.floor(whole / 86400), hours: Math.floor((whole % 86400) / 3600) });
}

/** A share of 1 as a whole percentage. */
export function formatPercent(share) {
  return t("format.percent", { number: Math.round(share * 100) });
}

/** A level in dBFS with a true minus sign; null, which is digital silence, as a dash. */
export function formatDbfs(level) {
  return level === null ? "–" : t("format.dbfs", { number: String(Math.round(level)).replace("-", "−") });
}
