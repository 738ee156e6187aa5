// What keeps us from hearing or telling: rooms that nobody listens to, and incidents of that kind.

import { now } from "./clock.js";
import { arrange, el, mark, setText } from "./dom.js";
import { byName, formatSince, named, t } from "./i18n.js";
import { whyDeaf } from "./rooms.js";

const DEAF = ["silent", "absent", "offline", "unknown"];
const SHOWN = 8;
const root = document.documentElement.dataset.root;

export class Troubles {
  #section;
  #regions;
  #lines = { deaf: new Map(), troubles: new Map() };

  /** Shows deaf rooms in the list `deaf` and other troubles in `troubles`; with neither, `section` is hidden. */
  constructor(section, deaf, troubles) {
    this.#section = section;
    this.#regions = { deaf, troubles };
  }

  /** Brings both lists up to date from all `rooms` and `incidents`. */
  refresh(rooms, incidents) {
    const open = incidents.filter((one) => one.kind === "trouble" && (one.active || one.acknowledged === null));
    const deaf = rooms.filter(({ state }) => DEAF.includes(state));
    deaf.sort((one, other) => byName(one.zone, other.zone) || byName(one.room, other.room));
    const nodes = new Set(deaf.map(({ node }) => node));
    const ofDeaf = (one) => one.active && one.nodes.length > 0 && one.nodes.every(({ id }) => nodes.has(id));
    this.#show("deaf", deaf, ({ node }) => node, (room) =>
      deafLine(room, open.filter((one) => ofDeaf(one) && one.nodes[0].id === room.node)));
    this.#show("troubles", open.filter((one) => !ofDeaf(one)), ({ id }) => id, troubleLine);
    this.#section.hidden = deaf.length + open.length === 0;
  }

  #show(name, items, keyOf, lineOf) {
    const kept = items.slice(0, SHOWN).map((item) => [keyOf(item), lineOf(item)]);
    if (items.length > SHOWN) kept.push(["", { name: t("deaf.more", { count: items.length - SHOWN }), words: [] }]);
    const known = this.#lines[name];
    const lines = new Map(kept.map(([key]) => [key, known.get(key) ?? new Line()]));
    kept.forEach(([key, words]) => lines.get(key).show(words));
    this.#lines[name] = lines;
    arrange(this.#regions[name], [...lines.values()].map((line) => line.element));
  }
}

function deafLine(room, incidents) {
  const links = incidents.map(({ id, label }) => [named("trouble", label), `${root}/incidents/${id}`]);
  return { name: room.room || room.node, zone: room.zone, sign: room.state, words: [whyDeaf(room)], links };
}

function troubleLine({ id, label, origin_room: room, zone, opened, active, cleared, acknowledged }) {
  const time = formatSince(Date.parse(active ? opened : cleared), now());
  const words = [t(active ? "trouble_incident.since" : "trouble_incident.over", { time })];
  if (acknowledged !== null) words.push(t("trouble_incident.known"));
  const links = [[t("incident.more"), `${root}/incidents/${id}`]];
  return { name: named("trouble", label), zone: [room, zone].filter(Boolean).join(", "), sign: "trouble", words, links };
}

class Line {
  #mark = mark("trouble");
  #name = el("strong");
  #zone = el("span", { class: "faint" });
  #words = el("p");
  #links = el("p", { class: "trouble-links" });
  #shownLinks = "";

  constructor() {
    this.element = el("li", { class: "trouble-line" }, this.#mark,
      el("div", {}, el("p", {}, this.#name, " ", this.#zone), this.#words, this.#links));
  }

  show({ name, zone = "", sign = "trouble", words, links = [] }) {
    this.#mark.firstElementChild.setAttribute("href", `#mark-${sign}`);
    setText(this.#name, name);
    setText(this.#zone, zone);
    setText(this.#words, words.join(" "));
    this.#words.hidden = words.length === 0;
    this.#links.hidden = links.length === 0;
    const signature = JSON.stringify(links);
    if (signature === this.#shownLinks) return;
    this.#shownLinks = signature;
    this.#links.replaceChildren(...links.map(([text, href]) => el("a", { class: "trouble-link", href }, text)));
  }
}
