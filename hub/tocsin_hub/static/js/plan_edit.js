// Draws the rooms while their numbers are typed, and lets a pointer drag them. The numbers are what is saved.

const SVG = "http://www.w3.org/2000/svg";
const NAMES = ["x", "y", "width", "height"];
const form = document.getElementById("plan-form");
const map = document.querySelector("#draw .plan-map");

class Drawn {
  #fieldset;

  constructor(fieldset) {
    this.#fieldset = fieldset;
    this.shape = document.createElementNS(SVG, "polygon");
    this.shape.setAttribute("class", "plan-shape");
    this.name = document.createElementNS(SVG, "text");
    this.name.setAttribute("class", "plan-label");
    this.name.textContent = fieldset.querySelector("legend").firstChild.textContent.trim();
    map.append(this.shape, this.name);
    fieldset.addEventListener("input", () => this.draw());
    fieldset.addEventListener("focusin", () => this.shape.classList.add("is-chosen"));
    fieldset.addEventListener("focusout", () => this.shape.classList.remove("is-chosen"));
    this.shape.addEventListener("pointerdown", (press) => this.#drag(press));
    this.draw();
  }

  #field(name) {
    return this.#fieldset.querySelector(`[name^="${name}."]`);
  }

  get #corners() {
    const text = this.#field("corners").value.trim();
    if (text) return text.split(/\s+/).map((pair) => pair.split(",").map(Number));
    const [x, y, width, height] = NAMES.map((name) => this.#field(name).valueAsNumber);
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];
  }

  draw() {
    const corners = this.#corners;
    const whole = corners.every((pair) => pair.length === 2 && pair.every(Number.isFinite));
    const points = whole ? corners : [];
    this.shape.setAttribute("points", points.map((pair) => pair.join(",")).join(" "));
    this.name.setAttribute("x", Math.min(...points.map(([x]) => x), 1e4) + 12);
    this.name.setAttribute("y", Math.min(...points.map(([, y]) => y), 1e4) + 12);
  }

  #drag(press) {
    press.preventDefault();
    const from = pointIn(press);
    const corners = this.#corners;
    const box = map.viewBox.baseVal;
    const least = [0, 1].map((axis) => Math.min(...corners.map((pair) => pair[axis])));
    const most = [0, 1].map((axis) => Math.max(...corners.map((pair) => pair[axis])));
    const limit = [box.width, box.height];
    const move = (event) => {
      const to = pointIn(event);
      const step = [0, 1].map((axis) =>
        Math.round(Math.max(-least[axis], Math.min(limit[axis] - most[axis], to[axis] - from[axis]))));
      this.#write(corners.map(([x, y]) => [x + step[0], y + step[1]]));
    };
    this.shape.setPointerCapture(press.pointerId);
    this.shape.addEventListener("pointermove", move);
    this.shape.addEventListener("pointerup", () => this.shape.removeEventListener("pointermove", move), { once: true });
  }

  #write(corners) {
    if (this.#field("corners").value.trim()) {
      this.#field("corners").value = corners.map((pair) => pair.join(",")).join(" ");
    }
    this.#field("x").value = Math.min(...corners.map(([x]) => x));
    this.#field("y").value = Math.min(...corners.map(([, y]) => y));
    this.draw();
  }
}

/** Where in the plan a pointer is, in its units. */
function pointIn({ clientX, clientY }) {
  const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(map.getScreenCTM().inverse());
  return [x, y];
}

for (const fieldset of form?.querySelectorAll("fieldset") ?? []) new Drawn(fieldset);
