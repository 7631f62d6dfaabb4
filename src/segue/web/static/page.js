// What the pages of figures share: the key that a server asks for, and numbers and times in words.

import { $, h, sentence } from "./dom.js";
import { setKey } from "./net.js";

/** A number in few digits, an en dash where there is none. */
export const figure = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 100 ? Math.round(value).toLocaleString() : value.toPrecision(3));

/** A share as a signed percentage. */
export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${value >= 0 ? "+" : "−"}${Math.abs(100 * value).toFixed(digits)} %`);

/** A time of the server, in the words of the reader's place. */
export const when = (ms) => new Date(ms).toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

function askForKey(again) {
  const input = h("input", { type: "password", class: "filter", "aria-label": "API key", autocomplete: "off" });
  const use = (event) => { event.preventDefault(); setKey(input.value); $("banner").hidden = true; again(); };
  $("banner").replaceChildren(h("span", {}, "This server asks for a key."), h("form", { class: "banner-key", onsubmit: use }, input, h("button", { class: "chip", type: "submit" }, "Use it")));
  $("banner").hidden = false;
  input.focus();
}

/** Look, and look again once a key is given where one is missing; any other problem is told in the lead of `main`. */
export async function looking(main, look) {
  try {
    await look();
  } catch (problem) {
    if (problem.status === 401) { askForKey(() => looking(main, look)); return; }
    $("lead").textContent = sentence(problem.message);
    $(main).setAttribute("aria-busy", "false");
  }
}

/** Look now and every `ms` while the page is seen and no key is asked for. */
export function lookingAgain(main, look, ms) {
  const once = () => looking(main, look);
  setInterval(() => { if (!document.hidden && $("banner").hidden) once(); }, ms);
  once();
}
