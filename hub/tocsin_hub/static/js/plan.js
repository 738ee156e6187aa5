// The floor plan: a real button for each room over the drawing. State shows by outline, pattern, sign and words.

import { now } from "./clock.js";
import { el, mark, setMark, setText, showText } from "./dom.js";
import { formatAgo, formatDbfs, named, t } from "./i18n.js";
import { levelShare } from "./rooms.js";

const STATES = ["listening", "silent", "absent", "starting", "offline", "unknown"];
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Plan {
  #rooms = [];

  /** `container` holds the drawing, or is null where none is shown; `open(node)` brings the reader to a room. */
  constructor(container, open) {
    const map = container?.querySelector(".plan-map");
    if (!map) return;
    const { width, height } = map.viewBox.baseVal;
    for (const shape of map.querySelectorAll(".plan-shape")) {
      this.#rooms.push(new PlanRoom(shape, width, height, () => open(shape.dataset.node)));
    }
    container.append(...this.#rooms.map((room) => room.button));
    container.addEventListener("keydown", (key) => this.#move(key));
    container.addEventListener("focusin", ({ target }) => this.#lead(target.closest(".plan-room")));
    this.#lead(this.#rooms[0]?.button);
  }

  /** Brings every room up to date; `active` are the detections that last, `live` whether all this is known. */
  refresh(rooms, active, live) {
    for (const drawn of this.#rooms) {
      const room = rooms.find(({ node }) => node === drawn.node);
      drawn.refresh(room, active.find(({ node }) => node === drawn.node), live);
    }
  }

  /** One stop of the tab key for the whole plan: the room that was reached last. */
  #lead(button) {
    if (!button) return;
    for (const room of this.#rooms) room.button.tabIndex = room.button === button ? 0 : -1;
  }

  #move(key) {
    const step = STEPS[key.key];
    const from = this.#rooms.find(({ button }) => button === document.activeElement);
    if (!step || !from) return;
    key.preventDefault();
    nearest(from, this.#rooms.filter((room) => room !== from && !room.button.hidden), step)?.button.focus();
  }
}

/** The room that lies nearest to `from` in the direction `step`; what is aside counts double. */
function nearest(from, rooms, [across, down]) {
  const measured = rooms.map((room) => {
    const [x, y] = [room.centre.x - from.centre.x, room.centre.y - from.centre.y];
    const [ahead, aside] = across ? [x * across, y] : [y * down, x];
    return { room, ahead, distance: ahead + 2 * Math.abs(aside) };
  });
  const found = measured.filter(({ ahead }) => ahead > 0).sort((one, other) => one.distance - other.distance);
  return found[0]?.room;
}

class PlanRoom {
  #shape;
  #raised = false;
  #parts = {
    sign: mark("unknown"), name: el("span", { class: "plan-name" }), state: el("span", { class: "plan-state" }),
    bar: el("span", { class: "level-bar" }), level: el("span", { class: "plan-level" }),
  };

  constructor(shape, width, height, open) {
    this.#shape = shape;
    const { sign, name, state, bar, level } = this.#parts;
    this.button = el("button", { class: "plan-room", type: "button", tabindex: "-1" },
      el("span", { class: "plan-chip" }, el("span", { class: "plan-title" }, sign, name), state, bar, level));
    this.button.addEventListener("click", open);
    this.#place(shape.getBBox(), width, height);
  }

  /** Draws an alarm's outline over those of its neighbours. */
  #raise(alarm) {
    if (alarm && !this.#raised) this.#shape.parentNode.append(this.#shape);
    this.#raised = alarm;
  }

  get node() {
    return this.#shape.dataset.node;
  }

  #place(box, width, height) {
    this.centre = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    const { style } = this.button;
    style.left = `${(100 * box.x) / width}%`;
    style.top = `${(100 * box.y) / height}%`;
    style.width = `${(100 * box.width) / width}%`;
    style.height = `${(100 * box.height) / height}%`;
  }

  refresh(room, sounding, live) {
    this.button.hidden = room === undefined;
    if (room === undefined) return;
    const { sign, name, state, bar, level } = this.#parts;
    const known = STATES.includes(room.state) ? room.state : "unknown";
    for (const part of [this.#shape, this.button]) {
      part.dataset.state = live ? known : "unknown";
      part.dataset.sounding = sounding?.severity ?? "";
    }
    this.#raise(sounding?.severity === "alarm");
    setMark(sign, sounding ? sounding.severity : known);
    setText(name, room.room || room.node);
    setText(state, wordsFor(known, sounding, live));
    // A room that is well says so by its sign; the words are for whoever does not see it.
    state.classList.toggle("unseen", known === "listening" && !sounding && live);
    const measured = known === "listening" && live ? room.level_dbfs : null;
    bar.style.setProperty("--level", levelShare(measured));
    bar.hidden = measured === null;
    showText(level, measured === null ? "" : formatDbfs(measured));
  }
}

function wordsFor(state, sounding, live) {
  const name = live ? named("state", state) : t("state.last_known", { state: named("state", state) });
  if (!sounding) return name;
  return t("rooms.heard", { sound: named("label", sounding.label), ago: formatAgo(Date.parse(sounding.onset), now()) });
}
