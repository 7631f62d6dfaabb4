// What is seen: the stage, the queue that moves, the songs close by, the session so far.

import { $, clock, h, icon, sentence, sourceWords, still } from "./dom.js";
import { cover, hueOf } from "./covers.js";
import { call } from "./net.js";

const OUTCOMES = { completed: "Finished", skipped: "Skipped", hidden: "Never again", left: "Left" };

function badge(text, kind) {
  return h("li", { class: `badge ${kind ?? ""}` }, text);
}

function badges(song, sources) {
  return [
    song.explored ? badge("Exploring", "explored") : null,
    song.new ? badge("New to you", "explored") : null,
    ...(song.sources ?? []).slice(0, sources).map((name) => badge(sourceWords(name))),
  ].filter(Boolean);
}

/** The song that plays, large. */
export function showNow(radio) {
  const song = radio.now, facts = song ? radio.facts.get(song.id) : null;
  const art = $("art");
  if (art.dataset.song !== (song?.id ?? "")) {
    art.dataset.song = song?.id ?? "";
    const old = art.firstElementChild;
    if (song) art.append(cover(song));
    if (old && song && !still()) {
      old.classList.add("leaving");
      setTimeout(() => old.remove(), 600);
    } else old?.remove();
    document.documentElement.style.setProperty("--hue", song ? hueOf(song.artist || song.id) : 250);
  }
  $("title").textContent = song ? song.title || song.id : radio.listener ? "Tuning in…" : "Nothing plays yet";
  $("artist").textContent = song ? [song.artist, facts?.album].filter(Boolean).join(" · ") : "";
  $("reason").textContent = song?.reason ? sentence(song.reason) : "";
  $("why").hidden = !song?.request_id;
  $("badges").replaceChildren(...(song ? badges(song, 3) : []));
  $("seek").disabled = !song;
  for (const button of document.querySelectorAll("[data-do]")) button.disabled = !song;
  document.querySelector('[data-do="like"]').setAttribute("aria-pressed", String(Boolean(song?.liked)));
  document.title = song ? `${song.title || song.id} · Segue` : "Segue";
  showClock(radio);
}

/** How loud, where there is something to hear. */
export function showVolume(radio) {
  const { deck } = radio, silent = deck.muted || !deck.level, state = silent ? "muted" : "loud";
  $("volume-box").hidden = !deck.sounding;
  $("volume").value = String(Math.round((deck.muted ? 0 : deck.level) * 100));
  $("volume").style.setProperty("--done", `${$("volume").value}%`);
  $("mute").setAttribute("aria-pressed", String(silent));
  if ($("mute").dataset.state === state) return;
  $("mute").dataset.state = state;
  $("mute").replaceChildren(icon(state));
}

/** Play or pause, and where in the song. */
export function showClock(radio) {
  const { deck } = radio, main = document.querySelector('[data-do="toggle"]');
  const seek = $("seek"), at = radio.now ? deck.position : 0, length = radio.now ? deck.length : 0;
  $("elapsed").textContent = clock(at);
  $("length").textContent = clock(length);
  if (document.activeElement !== seek || !seek.matches(":active")) seek.value = String(length ? Math.round((at / length) * 1000) : 0);
  seek.style.setProperty("--done", `${length ? (at / length) * 100 : 0}%`);
  seek.setAttribute("aria-valuetext", `${clock(at)} of ${clock(length)}`);
  const state = radio.deck.playing ? "pause" : "play";
  if (main.dataset.state !== state) {
    main.dataset.state = state;
    main.querySelector(".face").replaceChildren(icon(state));
    main.querySelector(".label").textContent = sentence(state);
  }
}

function line(song, { words, marks = [], press, label, action }) {
  return h("li", { class: "song", "data-id": song.id },
    h("button", { type: "button", class: "song-main", "aria-label": label, onclick: press },
      h("span", { class: "thumb" }, cover(song)),
      h("span", { class: "song-words" },
        h("span", { class: "song-title", dir: "auto" }, song.title || song.id),
        h("span", { class: "song-artist", dir: "auto" }, song.artist || "Unknown artist"),
        words ? h("span", { class: "song-reason", dir: "auto" }, words) : null)),
    marks.length ? h("ul", { class: "badges" }, marks) : null,
    action ?? null);
}

function radioButton(radio, song) {
  const label = `Start a radio from ${song.title || song.id}`;
  return h("button", { type: "button", class: "round quiet", title: label, "aria-label": label,
    onclick: () => radio.tune({ kind: "items", value: song.id, label: song.title || song.id, song }) }, icon("radio"));
}

/** Replace the lines of a list and let those that stay slide to their new places (FLIP). */
function settle(list, lines, added) {
  const before = new Map([...list.children].map((node) => [node.dataset.id, node.getBoundingClientRect().top]));
  const focus = list.contains(document.activeElement) ? [...list.children].findIndex((node) => node.contains(document.activeElement)) : -1;
  list.replaceChildren(...lines);
  if (focus >= 0) list.children[Math.min(focus, lines.length - 1)]?.querySelector("button")?.focus({ preventScroll: true });
  for (const node of lines) {
    if (added.has(node.dataset.id)) node.classList.add("fresh");
    if (still()) continue;
    const was = before.get(node.dataset.id), is = node.getBoundingClientRect().top;
    if (was === undefined) node.animate([{ opacity: 0, transform: "translateX(18px)" }, { opacity: 1, transform: "none" }], { duration: 380, easing: "cubic-bezier(.2,.7,.2,1)" });
    else if (Math.abs(was - is) > 1) node.animate([{ transform: `translateY(${was - is}px)` }, { transform: "none" }], { duration: 420, easing: "cubic-bezier(.2,.7,.2,1)" });
  }
}

/** The songs that wait. */
export function showQueue(radio) {
  const lines = radio.queue.map((song) => line(song, {
    words: song.reason ? sentence(song.reason) : "", marks: badges(song, 1),
    label: `Play ${song.title || song.id} by ${song.artist || "unknown artist"} now`, press: () => radio.jump(song),
  }));
  settle($("queue"), lines, radio.added);
  const { slate } = radio, empty = $("queue-empty");
  empty.hidden = lines.length > 0;
  empty.textContent = !radio.listener ? "Choose a listener and the radio begins." : slate && !slate.items.length
    ? slate.warnings[0] ? sentence(slate.warnings[0]) : "Nothing left to play in this session." : "Asking for songs…";
  const model = slate ? Object.values(slate.model_versions ?? {})[0] : null;
  $("made").textContent = slate ? [slate.rung, slate.policy && `policy ${slate.policy}`, model && `model ${String(model).slice(0, 12)}`].filter(Boolean).join(" · ") : "";
}

/** This session, newest first. */
export function showPast(radio) {
  const lines = radio.past.map((song) => {
    const words = song.how === "skipped" ? `Skipped at ${clock(song.heard)}` : OUTCOMES[song.how];
    const node = line(song, { words: song.liked && song.how !== "hidden" ? `${words} · liked` : words, label: `Play ${song.title || song.id} again`, press: () => radio.jump({ id: song.id, title: song.title, artist: song.artist }), action: radioButton(radio, song) });
    node.classList.add(`was-${song.how}`);
    node.dataset.id = `${song.id} ${song.at}`;
    return node;
  });
  $("past").replaceChildren(...lines);
  $("past-empty").hidden = lines.length > 0;
  $("past-count").textContent = lines.length ? String(lines.length) : "";
}

let nearTo = null;

/** Neighbours of what plays, fetched when that list is looked at. */
export async function showNear(radio) {
  const song = radio.now;
  if ($("panel-near").hidden || !song || nearTo === song.id) return;
  nearTo = song.id;
  let items = [];
  try {
    ({ items } = await call("GET", `/v1/items/${encodeURIComponent(song.id)}/similar?limit=12`));
  } catch {
    nearTo = null; // asked again at the next look
  }
  if (radio.now !== song) return;
  $("near").replaceChildren(...items.map((other) => line(other, { label: `Play ${other.title || other.id} by ${other.artist || "unknown artist"} now`, press: () => radio.jump({ id: other.id, title: other.title, artist: other.artist }), action: radioButton(radio, other) })));
  const empty = $("near-empty");
  empty.hidden = items.length > 0;
  empty.textContent = "Nobody knows neighbours of this song yet.";
}
