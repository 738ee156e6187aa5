// The page "Now": what sounds, who hears nothing, what was heard of late, and every room.

import { setText } from "./dom.js";
import { t } from "./i18n.js";
import { Plan } from "./plan.js";
import { Recent } from "./recent.js";
import { Rooms } from "./rooms.js";
import { Troubles } from "./troubles.js";
import { Watch } from "./watch.js";

const byId = (id) => document.getElementById(id);
const recent = new Recent(byId("recent"), byId("recent-none"));
const rooms = new Rooms(byId("rooms"), byId("rooms-summary"));
const troubles = new Troubles(byId("troubled"), byId("deaf"), byId("troubles"));
const plan = new Plan(byId("plan"), (node) => rooms.open(node));
let loaded = false;

const watch = new Watch({
  rooms(list, whole) {
    rooms.take(list, whole);
    loaded = true;
  },
  events: () => recent.show(watch.detections.newestFirst()),
  reset: () => recent.show([]),
  mode: (mode) => mode === "live" && recent.show(watch.detections.newestFirst()),
  refresh,
});

function refresh({ detections, incidents, link, now }) {
  const active = detections.active().filter((event) => !event.test);
  rooms.refresh(active, link.live);
  plan.refresh(rooms.all, active, link.live);
  troubles.refresh(rooms.all, incidents.newestFirst());
  byId("rooms-none").hidden = !loaded || rooms.size > 0;
  byId("dismiss-all").hidden = now.over < 2;
  showQuiet(link, now.size);
}

/** Says in words why nothing stands under "Sounding now": quiet, deaf and out of date are not the same. */
function showQuiet(link, cards) {
  const quiet = byId("now-quiet");
  quiet.hidden = cards > 0;
  const deaf = rooms.listening < rooms.size;
  quiet.dataset.calm = String(link.live && rooms.listening > 0 && !deaf);
  if (!link.live) setText(quiet, t(link.mode === "connecting" ? "now.loading" : "now.unknown"));
  else setText(quiet, t(rooms.listening > 0 ? "now.quiet" : "now.nobody_listens"));
}

byId("dismiss-all").addEventListener("click", () => watch.now.dismissOver());
watch.start();
