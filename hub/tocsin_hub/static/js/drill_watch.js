// Shows and takes away the banner of drills on pages that do not follow the hub: nobody may take a drill for an alarm,
// or an alarm for a drill, because a page stood open. Pages that follow the hub do this themselves.

import { ask } from "./api.js";
import { setText } from "./dom.js";

const CHECK_MS = 5000;
const banner = document.getElementById("drill");
const format = new Intl.DateTimeFormat(document.documentElement.lang, {
  hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});
let timer = 0;

function words({ zones, ends }) {
  const text = zones.length ? banner.dataset.runsIn : banner.dataset.runs;
  return text.replace("{zones}", () => zones.join(", ")).replace("{time}", format.format(Date.parse(ends)));
}

async function check() {
  clearTimeout(timer);
  if (document.hidden) return; // the return to the page checks again
  try {
    const { drills } = await ask("drills");
    const running = drills.filter(({ active }) => active);
    setText(banner.querySelector("[data-words]"), running.map(words).join(" "));
    banner.hidden = running.length === 0;
  } catch {
    banner.hidden = true;
  }
  timer = setTimeout(check, CHECK_MS);
}

document.addEventListener("visibilitychange", check);
check();
