// What every live page does: follow the hub, show what sounds, and say how far all this can be trusted.

import { Detections } from "./detections.js";
import { DrillBanner } from "./drill_banner.js";
import { Incidents } from "./incidents.js";
import { Jump } from "./jump.js";
import { Link } from "./link.js";
import { Live } from "./live.js";
import { Now } from "./now.js";

const REFRESH_MS = 1000;
const byId = (id) => document.getElementById(id);

/**
 * Follows the hub for a page with the regions `alarms` and, where it shows everything, `others`.
 * `page` may have `about`, the id of an incident that it shows anyway, `rooms(list, whole)`, `events(news)`, `incidents(news)`, `rollout(rollout)`, `mode(name)`, `reset()` and
 * `refresh(watch)`, which comes after each of these and once a second.
 */
export class Watch {
  detections = new Detections();
  incidents = new Incidents();
  link = new Link(byId("link"), byId("link-note"));
  #page;
  #rooms = new Map();
  #jump = new Jump(byId("jump"), byId("alarms"));
  #drill = new DrillBanner(byId("drill"));

  constructor(page = {}) {
    this.#page = page;
    this.now = new Now(byId("alarms"), byId("others"), this.incidents, () => this.refresh(), page.about);
  }

  start() {
    setInterval(() => this.refresh(), REFRESH_MS);
    new Live({
      rooms: (list, whole) => this.#takeRooms(list, whole),
      incidents: (list, how) => this.#takeIncidents(list, how),
      events: (list, how) => this.#takeEvents(list, how),
      drills: (list) => this.#drill.show(list),
      rollout: (rollout) => this.#page.rollout?.(rollout),
      reset: () => this.#reset(),
      mode: (mode, since) => this.#enter(mode, since),
    }).start();
  }

  /** What is known of the room of `node`, or undefined. */
  roomOf(node) {
    return this.#rooms.get(node);
  }

  /** The known events of an incident, the best score first. */
  eventsOf(incident) {
    const events = this.detections.newestFirst().filter((event) => event.incident === incident);
    return events.sort((one, other) => other.score - one.score);
  }

  refresh() {
    this.now.refresh({ roomOf: (node) => this.roomOf(node), eventsOf: (incident) => this.eventsOf(incident) });
    const alarms = this.#sounding().filter(({ severity }) => severity === "alarm");
    this.link.showAlarms(alarms.length);
    this.#jump.take(alarms);
    const heading = byId("now-heading");
    if (heading.dataset.shy) heading.hidden = this.now.size === 0;
    this.#page.refresh?.(this);
  }

  /** Everything that sounds, as `{id, label, severity, room}`, the newest first: incidents, then single events. */
  #sounding() {
    const incidents = this.incidents.newestFirst().filter(({ active, kind }) => active && kind === "sound");
    const events = this.detections.active().filter((event) => !event.test && !this.incidents.tell(event));
    return [
      ...incidents.map(({ id, label, severity, origin_room: room, zone }) => ({ id, label, severity, room: room || zone })),
      ...events.map(({ id, label, severity, room, node }) => ({ id, label, severity, room: room || node })),
    ];
  }

  #takeRooms(list, whole) {
    if (whole) this.#rooms.clear();
    for (const room of list) this.#rooms.set(room.node, room);
    this.#page.rooms?.(list, whole);
    this.refresh();
  }

  #takeIncidents(list, how) {
    const news = this.incidents.merge(list);
    if (news.length === 0) return;
    this.now.takeIncidents(news, this.detections.newestFirst(), how);
    this.#page.incidents?.(news);
    this.refresh();
  }

  #takeEvents(list, how) {
    const news = this.detections.merge(list);
    if (news.length === 0) return;
    this.now.take(news, how);
    this.#page.events?.(news);
    this.refresh();
  }

  #reset() {
    this.detections.clear();
    this.incidents.clear();
    this.now.clear();
    this.#page.reset?.();
  }

  #enter(mode, since) {
    this.link.enter(mode, since);
    // What runs is not known any more, and a real alarm must not be taken for a drill.
    if (mode === "stale") this.#drill.show([]);
    this.#page.mode?.(mode);
    this.refresh();
  }
}
