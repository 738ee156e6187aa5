// Takes the banner of a drill away as soon as no drill is known to run: nobody may take a real alarm for a drill
// because a page stood open. Pages that follow the hub do this themselves.

import { ask } from "./api.js";

const CHECK_MS = 5000;
const banner = document.getElementById("drill");

async function check() {
  try {
    const { drills } = await ask("drills");
    banner.hidden = !drills.some(({ active }) => active);
  } catch {
    banner.hidden = true;
  }
}

if (!banner.hidden) setInterval(check, CHECK_MS);
