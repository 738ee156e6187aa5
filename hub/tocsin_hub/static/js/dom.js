// Elements from data. Text always goes in as text: nothing from outside is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with `attributes` and `children`; strings become text, `null` children are left out. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** One of the page's drawings, without a name of its own: words stand beside it. */
export function mark(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "use"));
  setMark(svg, name);
  return svg;
}

/** Shows another drawing in `svg`. */
export function setMark(svg, name) {
  const wanted = `#mark-${name}`;
  if (svg.firstElementChild.getAttribute("href") !== wanted) svg.firstElementChild.setAttribute("href", wanted);
}

/** Sets the text of `element`, and leaves it alone when it says that already. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows `text` in `element`, or hides the element when there is none. */
export function showText(element, text) {
  setText(element, text);
  element.hidden = text === "";
}

/** Brings the children of `parent` into the order of `elements`; those that stay are not touched. */
export function arrange(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  elements.forEach((element, place) => {
    if (parent.children[place] !== element) parent.insertBefore(element, parent.children[place] ?? null);
  });
}
