// The page of the floor plan: the plan, and beneath it every room.

import { Plan } from "./plan.js";
import { Rooms } from "./rooms.js";
import { Watch } from "./watch.js";

const byId = (id) => document.getElementById(id);
const rooms = new Rooms(byId("rooms"), byId("rooms-summary"));
const plan = new Plan(byId("plan"), (node) => rooms.open(node));

new Watch({
  rooms: (list, whole) => rooms.take(list, whole),
  refresh({ detections, link }) {
    const active = detections.active().filter((event) => !event.test);
    rooms.refresh(active, link.live);
    plan.refresh(rooms.all, active, link.live);
  },
}).start();
