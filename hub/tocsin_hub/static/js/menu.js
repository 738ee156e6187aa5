// The sheet behind "More" opens and closes without this; here it also closes where people expect it to.

const more = document.querySelector(".menu-more");

document.addEventListener("keydown", (key) => {
  if (key.key !== "Escape" || !more.open) return;
  const inside = more.contains(document.activeElement);
  more.open = false;
  if (inside) more.querySelector("summary").focus();
});

document.addEventListener("click", (click) => {
  if (more.open && !more.contains(click.target)) more.open = false;
});
