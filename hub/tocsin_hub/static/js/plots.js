// The plots of the history: detections per hour, and how loud a room was. The library comes only when asked for.

import { ask } from "./api.js";
import { el } from "./dom.js";
import { formatDbfs, formatFull, language, named, t } from "./i18n.js";

const HOUR_S = 3600;
const DAY_MS = 24 * HOUR_S * 1000;
const LONGEST_MS = 31 * DAY_MS;
const HEIGHT = 220;
const SEVERITIES = ["alarm", "warning", "notice"];

/** Draws both plots for `filters`: `since` and `until` in milliseconds, `node` and its `room`, or empty. */
export async function drawPlots(hours, levels, filters) {
  try {
    await loadLibrary();
    const span = spanOf(filters);
    await Promise.all([drawHours(hours, span, filters), filters.node && drawLevels(levels, span, filters)]);
  } catch {
    hours.replaceChildren(el("p", { class: "quiet" }, t("plot.failed")));
  }
}

function spanOf({ since, until }) {
  const end = until ?? Date.now();
  const begin = Math.max(since ?? end - (until === null ? DAY_MS : LONGEST_MS), end - LONGEST_MS);
  return { since: new Date(begin).toISOString(), until: new Date(end).toISOString() };
}

function loadLibrary() {
  if (window.uPlot) return Promise.resolve();
  return new Promise((done, failed) => {
    const script = el("script", { src: new URL("../vendor/uPlot.iife.min.js", import.meta.url).href });
    script.addEventListener("load", done);
    script.addEventListener("error", failed);
    document.head.append(script);
  });
}

async function drawHours(area, span, { node, zone }) {
  const { hours } = await ask("counts", { ...span, ...(node && { node }), ...(zone && { zone }) });
  if (hours.length === 0) return area.replaceChildren(el("p", { class: "quiet" }, t("plot.none")));
  const [first, last] = [span.since, span.until].map((iso) => Math.floor(Date.parse(iso) / 1000 / HOUR_S) * HOUR_S);
  const at = Array.from({ length: (last - first) / HOUR_S + 1 }, (_, place) => first + place * HOUR_S);
  const counts = new Map(hours.map((hour) => [Date.parse(hour.at) / 1000, hour]));
  const sumTo = (hour, most) => SEVERITIES.slice(0, most + 1).reduce((sum, name) => sum + hour[name], 0);
  const stacked = SEVERITIES.map((name, most) => at.map((second) =>
    (counts.get(second)?.[name] ? sumTo(counts.get(second), most) : null)));
  const bars = window.uPlot.paths.bars({ size: [0.9, 40] });
  // The largest sum is drawn first, and the smaller ones over it.
  const series = SEVERITIES.map((name) => ({ label: named("severity", name), fill: colour(`--plot-${name}`), stroke: colour(`--plot-${name}`), paths: bars, points: { show: false } }));
  show(area, [at, ...stacked.reverse()], series.reverse(), { integers: true });
  const rows = hours.map((hour) => [formatFull(Date.parse(hour.at)), ...SEVERITIES.map((name) => String(hour[name]))]);
  area.append(tableOf(t("plot.hours"), [t("plot.time"), ...SEVERITIES.map((name) => named("severity", name))], rows));
}

async function drawLevels(area, span, { node, room }) {
  const { levels } = await ask("levels", { ...span, node });
  if (levels.length === 0) return area.replaceChildren(el("p", { class: "quiet" }, t("plot.none")));
  const at = levels.map((level) => Date.parse(level.at) / 1000);
  const series = [
    { label: t("plot.loudest"), stroke: colour("--plot-warning"), width: 1.5, dash: [4, 3], points: { show: at.length < 40 } },
    { label: t("plot.mean"), stroke: colour("--plot-level"), width: 2, points: { show: at.length < 40 } },
  ];
  const data = [at, levels.map((level) => level.loudest_dbfs), levels.map((level) => level.mean_dbfs)];
  show(area, withGaps(data), series, { unit: formatDbfs });
  const rows = levels.map((level) =>
    [formatFull(Date.parse(level.at)), formatDbfs(level.mean_dbfs), formatDbfs(level.loudest_dbfs)]);
  const headings = [t("plot.time"), t("plot.mean"), t("plot.loudest")];
  area.append(tableOf(t("plot.levels_room", { room }), headings, rows));
}

/** `data` with an empty point wherever a room was not heard for longer than usual, so that no line bridges it. */
function withGaps([at, ...values]) {
  const steps = at.slice(1).map((second, place) => second - at[place]).sort((one, other) => one - other);
  const usual = Math.max(60, steps[Math.floor(steps.length / 2)] ?? 60);
  const gapped = [[], ...values.map(() => [])];
  at.forEach((second, place) => {
    if (place > 0 && second - at[place - 1] > 2.5 * usual) {
      gapped[0].push(at[place - 1] + usual);
      values.forEach((_, line) => gapped[line + 1].push(null));
    }
    gapped[0].push(second);
    values.forEach((list, line) => gapped[line + 1].push(list[place]));
  });
  return gapped;
}

function show(area, data, series, { integers = false, unit = String }) {
  area.replaceChildren();
  const times = new Intl.DateTimeFormat(language, { month: "numeric", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const axis = { stroke: colour("--text"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "12px system-ui, sans-serif" };
  const plot = new window.uPlot({
    width: area.clientWidth, height: HEIGHT,
    series: [{ label: t("plot.time"), value: (_, second) => (second ? formatFull(second * 1000) : "–") }, ...series.map((one) => ({ ...one, value: (_, value) => (value === null ? "–" : unit(value)) }))],
    axes: [
      { ...axis, space: 96, values: (_, ticks) => ticks.map((second) => times.format(second * 1000)) },
      { ...axis, size: integers ? 44 : 84, values: (_, ticks) => ticks.map((tick) => (integers && !Number.isInteger(tick) ? "" : unit(tick))) },
    ],
    scales: integers ? { y: { range: (_, _low, high) => [0, Math.max(1, high * 1.1)] } } : {},
    legend: { live: false },
    cursor: { drag: { x: false, y: false } },
  }, data, area);
  new ResizeObserver(() => plot.setSize({ width: area.clientWidth, height: HEIGHT })).observe(area);
}

/** The figures of a plot for whoever cannot see it. */
function tableOf(caption, headings, rows) {
  const head = el("tr", {}, ...headings.map((text) => el("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...rest]) =>
    el("tr", {}, el("th", { scope: "row" }, first), ...rest.map((text) => el("td", {}, text))));
  const table = el("table", { class: "plain-table" }, el("caption", { class: "unseen" }, caption),
    el("thead", {}, head), el("tbody", {}, ...body));
  return el("details", {}, el("summary", {}, t("plot.table")),
    el("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": caption }, table));
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
