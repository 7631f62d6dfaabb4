// The station: a box that finds songs, artists and tags to start a radio from.

import { $, h, icon } from "./dom.js";
import { cover } from "./covers.js";
import { call } from "./net.js";

/** Whether a word of the text starts with what was typed. */
const starts = (text, fold) => Boolean(text) && ` ${text.toLocaleLowerCase()}`.includes(` ${fold}`);

const KINDS = { items: "Song", artists: "Artist", tags: "Tag" };

/** Wire the search box: choosing a row tunes the radio. `about` is a function that gives GET /v1/about's answer. */
export function searchBox(radio, about) {
  const box = $("search"), list = $("found");
  let rows = [], active = -1, ticket = 0, timer = 0;

  const close = () => {
    list.hidden = true;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
    active = -1;
  };
  const choose = (row) => {
    box.value = "";
    close();
    box.blur();
    radio.tune({ kind: row.kind, value: row.value, label: row.label, song: row.song });
  };
  const mark = (index) => {
    active = index;
    [...list.querySelectorAll("[role=option]")].forEach((node, i) => {
      node.setAttribute("aria-selected", String(i === index));
      if (i === index) {
        box.setAttribute("aria-activedescendant", node.id);
        node.scrollIntoView({ block: "nearest" });
      }
    });
  };
  const show = (found, hint) => {
    rows = found;
    list.replaceChildren(...(hint ? [h("p", { class: "found-hint" }, hint)] : []), ...rows.map((row, i) =>
      h("div", { role: "option", id: `found-${i}`, class: "found-row", "aria-selected": "false", onpointerdown: (e) => e.preventDefault(), onclick: () => choose(row) },
        h("span", { class: `thumb kind-${row.kind}` }, row.kind === "items" ? cover(row.song) : icon(row.kind === "artists" ? "radio" : "spark")),
        h("span", { class: "song-words" }, h("span", { class: "song-title", dir: "auto" }, row.label), h("span", { class: "song-artist", dir: "auto" }, row.note)))));
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
    active = -1;
  };
  const songRow = (song) => ({ kind: "items", value: song.id, label: song.title || song.id, note: `${KINDS.items} · ${song.artist || "unknown artist"}`, song });

  const look = async () => {
    const words = box.value.trim(), mine = ++ticket, fold = words.toLocaleLowerCase(), facts = about();
    try {
      if (!words) {
        const where = radio.listener?.region ? `&region=${encodeURIComponent(radio.listener.region)}` : "";
        const { items } = await call("GET", `/v1/popular?limit=6${where}`);
        if (mine === ticket) show(items.map(songRow), items.length ? `Popular now${where ? ` in ${radio.listener.region}` : ""}` : "Type to search");
        return;
      }
      const { items } = await call("GET", `/v1/search?q=${encodeURIComponent(words)}&limit=8`);
      if (mine !== ticket) return;
      const names = new Set([...items.map((song) => song.artist), ...(facts?.artists ?? []).map((artist) => artist.name)]);
      const artists = [...names].filter((name) => starts(name, fold)).slice(0, 3);
      const tags = (facts?.tags ?? []).filter((tag) => starts(tag, fold)).slice(0, 3);
      const found = [
        ...artists.map((name) => ({ kind: "artists", value: name, label: name, note: KINDS.artists })),
        ...tags.map((tag) => ({ kind: "tags", value: tag, label: tag, note: KINDS.tags })),
        ...items.map(songRow),
      ];
      show(found, found.length ? "" : `Nothing found for “${words}”`);
    } catch (problem) {
      if (mine === ticket) show([], problem.message);
    }
  };

  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, 120);
  });
  box.addEventListener("focus", look);
  box.addEventListener("blur", () => {
    ticket++;
    close();
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (rows.length) mark((active + (event.key === "ArrowDown" ? 1 : rows.length - (active < 0 ? 0 : 1))) % rows.length);
    } else if (event.key === "Enter" && rows.length && !list.hidden) {
      event.preventDefault();
      choose(rows[Math.max(active, 0)]);
    } else if (event.key === "Escape") {
      box.value = "";
      box.blur();
    }
  });
}

/** The line that says which radio this is. */
export function showStation(radio) {
  const { station } = radio;
  $("station").replaceChildren(
    ...(station
      ? [h("span", {}, "Radio from "), h("bdi", { class: "station-name" }, station.label),
         h("button", { type: "button", class: "round quiet tiny", "aria-label": "Back to your own radio", title: "Back to your own radio", onclick: () => radio.tune(null) }, icon("close"))]
      : [radio.listener ? "Your radio" : "Segue radio"]));
}
