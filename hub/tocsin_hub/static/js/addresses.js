// The reader's other addresses: sends a test to one of them, and says whether its service took it.

import { setText } from "./dom.js";
import { t } from "./i18n.js";
import { send } from "./send.js";

async function test(button, tried) {
  const kind = button.previousElementSibling.textContent;
  setText(tried, t("me.address_sending", { kind }));
  button.disabled = true;
  try {
    const { accepted, error } = await send("POST", `me/addresses/${button.dataset.address}/test`);
    setText(tried, accepted ? t("me.address_sent", { kind }) : t("me.test_refused", { error }));
  } catch (error) {
    setText(tried, t("me.test_refused", { error: error.message }));
  }
  button.disabled = false;
  button.focus();
}

/** Makes the buttons in `tried`'s section send a test each; `tried` is where the outcome is told. */
export function watchAddresses(tried) {
  for (const button of document.querySelectorAll("[data-address]")) {
    button.addEventListener("click", () => test(button, tried));
  }
}
