// The page: wires the radio to the buttons, the keys, the dial and the messages.

import { $, h, icon } from "./dom.js";
import { face } from "./covers.js";
import { call, setKey } from "./net.js";
import { Radio } from "./radio.js";
import { searchBox, showStation } from "./search.js";
import { Seen } from "./seen.js";
import { chooseListener } from "./setup.js";
import { showWhy } from "./why.js";
import { showClock, showNear, showNow, showPast, showQueue, showVolume } from "./views.js";

const radio = new Radio();
const seen = new Seen((ids) => radio.seen(ids));
let about = null;
let waiting = 0;
let trouble = null;

const ACTS = {
  toggle: () => radio.toggle(),
  finish: () => radio.end("completed"),
  skip: () => radio.end("skipped"),
  hide: () => radio.end("hidden"),
  like: () => radio.like(),
  mute: () => radio.deck.setVolume(radio.deck.level || 0.8, !radio.deck.muted && radio.deck.level > 0),
};
const KEYS = { " ": "toggle", f: "finish", s: "skip", l: "like", x: "hide", m: "mute" };

let quiet = 0;
function toast(text) {
  clearTimeout(quiet);
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  quiet = setTimeout(() => $("toast").classList.remove("shown"), 3200);
}

let fading = 0;
/** Say beside the tabs how much of the queue a press has changed. */
function changed(n) {
  clearTimeout(fading);
  $("changed").textContent = `${n} changed`;
  $("changed").classList.add("shown");
  fading = setTimeout(() => $("changed").classList.remove("shown"), 4000);
}

function keyForm() {
  const input = h("input", { type: "password", class: "filter", "aria-label": "API key", placeholder: "API key", autocomplete: "off" });
  return h("form", { class: "banner-key", onsubmit: (event) => {
    event.preventDefault();
    setKey(input.value);
    start();
  } }, input, h("button", { class: "chip", type: "submit" }, "Use this key"));
}

/** One line for whatever is wrong now: what happened, what is kept, what can be done. */
function showBanner() {
  const banner = $("banner");
  banner.hidden = !trouble;
  if (!trouble) return banner.replaceChildren();
  const kept = waiting ? " What you pressed is kept here and will be sent." : "";
  const words = trouble.status === 401 ? "This server asks for a key." : `${trouble.message}${kept}`;
  banner.replaceChildren(h("span", {}, words), trouble.status === 401 ? keyForm() : h("button", { type: "button", class: "chip", onclick: retry }, "Try again"));
}

async function retry() {
  if (about) await radio.refresh();
  else await start();
}

function showListener() {
  const { listener } = radio;
  $("who").replaceChildren(...(listener ? [h("span", { class: "thumb round-thumb" }, face(listener.id))] : []),
    h("span", { class: "who-name", dir: "auto" }, listener ? listener.id : "Choose a listener"));
  $("who").setAttribute("aria-label", listener ? `Listening as ${listener.id}. Change the listener` : "Choose a listener");
}

function showDial() {
  const auto = radio.discovery === null, share = Math.round((radio.discovery ?? 0.7) * 100);
  $("auto").setAttribute("aria-pressed", String(auto));
  if (!auto) $("dial").value = String(share);
  $("dial").classList.toggle("resting", auto);
  $("dial").style.setProperty("--done", `${$("dial").value}%`);
  $("dial-says").textContent = auto ? "The radio learns how many new songs you like." : share === 0 ? "Only songs you know." : share === 100 ? "Only songs you have never heard." : `About ${share} of 100 songs new to you.`;
}

function selectTab(tab, focus = false) {
  for (const other of document.querySelectorAll("[role=tab]")) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  showNear(radio);
}

function wireTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => selectTab(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) selectTab(tabs[(i + step + tabs.length) % tabs.length], true);
    });
  });
}

function wireDial() {
  let timer = 0;
  $("dial").addEventListener("input", () => {
    radio.discovery = Number($("dial").value) / 100;
    showDial();
    clearTimeout(timer);
    timer = setTimeout(() => radio.dial(radio.discovery), 250);
  });
  $("auto").addEventListener("click", () => {
    clearTimeout(timer);
    radio.dial(radio.discovery === null ? Number($("dial").value) / 100 : null);
    showDial();
  });
}

function wireControls() {
  for (const button of document.querySelectorAll("[data-do]")) {
    if (button.dataset.do !== "toggle") button.querySelector(".face").append(icon(button.dataset.do));
    button.addEventListener("click", () => ACTS[button.dataset.do]());
  }
  $("seek").addEventListener("input", () => radio.deck.seek((Number($("seek").value) / 1000) * radio.deck.length));
  $("mute").addEventListener("click", ACTS.mute);
  $("volume").addEventListener("input", () => radio.deck.setVolume(Number($("volume").value) / 100));
  $("who").addEventListener("click", () => about && chooseListener(radio, about));
  $("why").addEventListener("click", () => radio.now?.request_id && showWhy(radio.now));
  $("help").addEventListener("click", () => $("about").showModal());
  for (const sheet of document.querySelectorAll("dialog"))
    sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());
}

function wireKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input:not([type=range]), textarea, select")) return;
    if (event.key === " " && event.target.matches("button, a, [role=tab]")) return; // Space presses what has the focus
    if (event.key === "/") $("search").focus();
    else if (event.key === "?") $("about").showModal();
    else if (event.key.toLowerCase() === "w" && radio.now?.request_id) showWhy(radio.now);
    else if (KEYS[event.key.toLowerCase()] && !event.repeat) ACTS[KEYS[event.key.toLowerCase()]]();
    else return;
    event.preventDefault();
  });
}

function wireRadio() {
  const on = (name, call) => radio.addEventListener(name, (event) => call(event.detail));
  on("now", () => (showNow(radio), showNear(radio)));
  on("queue", () => {
    showQueue(radio);
    seen.watch($("queue").children);
    const n = radio.added.size;
    if (n) changed(n);
  });
  on("past", () => showPast(radio));
  on("playing", () => showClock(radio));
  on("listener", () => (showListener(), showDial()));
  on("station", () => showStation(radio));
  on("busy", (busy) => $("queue").setAttribute("aria-busy", String(busy)));
  on("notice", toast);
  on("outbox", (n) => ((waiting = n), trouble && showBanner()));
  on("trouble", (problem) => ((trouble = problem), showBanner()));
  radio.deck.addEventListener("tick", () => (showClock(radio), showVolume(radio)));
  radio.deck.addEventListener("volume", () => showVolume(radio));
}

async function start() {
  try {
    about = await call("GET", "/v1/about");
    trouble = null;
  } catch (problem) {
    trouble = problem;
  }
  showBanner();
  if (!about) return;
  $("about-facts").textContent = `Segue ${about.version} · ${about.items.toLocaleString()} songs · ${about.users.toLocaleString()} listeners · model ${String(about.model_version).slice(0, 12)}`;
  radio.outbox.flush();
  if (!(await radio.open())) chooseListener(radio, about, true);
}

wireControls();
wireTabs();
wireDial();
wireKeys();
wireRadio();
searchBox(radio, () => about);
showListener();
showStation(radio);
showDial();
showNow(radio);
showQueue(radio);
start();
