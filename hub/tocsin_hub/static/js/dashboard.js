// The page "Now": what sounds, what was heard of late, and every room.

import { now } from "./clock.js";
import { Detections } from "./detections.js";
import { setText } from "./dom.js";
import { t } from "./i18n.js";
import { Jump } from "./jump.js";
import { Link } from "./link.js";
import { Live } from "./live.js";
import { Now } from "./now.js";
import { Recent } from "./recent.js";
import { Rooms } from "./rooms.js";

const byId = (id) => document.getElementById(id);
const detections = new Detections();
const link = new Link(byId("link"), byId("link-note"));
const jump = new Jump(byId("jump"), byId("alarms"));
const sounding = new Now(byId("alarms"), byId("others"), refresh);
const recent = new Recent(byId("recent"), byId("recent-none"));
const rooms = new Rooms(byId("rooms"), byId("rooms-summary"));
let loaded = false;

function refresh() {
  const active = detections.active().filter((event) => !event.test);
  rooms.refresh(active, link.live);
  sounding.refresh((node) => rooms.of(node));
  const alarms = active.filter((event) => event.severity === "alarm");
  link.showAlarms(alarms.length);
  jump.take(alarms);
  byId("rooms-none").hidden = !loaded || rooms.size > 0;
  byId("dismiss-all").hidden = sounding.over < 2;
  showQuiet();
}

/** Says in words why nothing stands under "Sounding now": quiet, deaf and out of date are not the same. */
function showQuiet() {
  const quiet = byId("now-quiet");
  quiet.hidden = sounding.size > 0;
  quiet.dataset.calm = String(link.live && rooms.listening > 0);
  if (!link.live) setText(quiet, t(link.mode === "connecting" ? "now.loading" : "now.unknown"));
  else setText(quiet, t(rooms.listening > 0 ? "now.quiet" : "now.nobody_listens"));
}

const live = new Live({
  rooms(list, whole) {
    rooms.take(list, whole);
    loaded = true;
    refresh();
  },
  events(events, how) {
    const news = detections.merge(events);
    if (news.length === 0) return;
    sounding.take(news, how);
    recent.show(detections.newestFirst());
    refresh();
  },
  reset() {
    detections.clear();
    sounding.clear();
    recent.show([]);
  },
  mode(mode, since) {
    link.enter(mode, since);
    if (mode === "live") recent.show(detections.newestFirst());
    refresh();
  },
});

byId("dismiss-all").addEventListener("click", () => sounding.dismissOver());
setInterval(refresh, 1000);
live.start();
