// The listener: somebody from town, or somebody invented with a region, an age and a few favourites.

import { $, h, randomId } from "./dom.js";
import { face } from "./covers.js";
import { call } from "./net.js";

const MOST = 8; // favourites
const FIRST = 6; // people shown before the others are asked for

function chip(text, group, picked, changed) {
  const node = h("button", { type: "button", class: "chip pick", "aria-pressed": String(picked.has(text)), "data-text": text.toLocaleLowerCase(), dir: "auto" }, text);
  node.addEventListener("click", () => {
    if (picked.has(text)) picked.delete(text);
    else if (picked.size < MOST) picked.add(text);
    node.setAttribute("aria-pressed", String(picked.has(text)));
    changed(group);
  });
  return node;
}

function oneOf(name, options, legend) {
  return h("fieldset", {}, h("legend", {}, legend), h("div", { class: "chips" }, options.map((text) =>
    h("label", { class: "chip pick radio" }, h("input", { type: "radio", name, value: text }), text))));
}

function describe(user) {
  const facts = [user.region, user.age_band?.replace("-", "\u2013"), (user.tags ?? []).slice(0, 3).join(", ")].filter(Boolean);
  return facts.flatMap((text, i) => [i ? " · " : null, h("span", { class: "whole", dir: "auto" }, text)]).filter(Boolean);
}

function townsfolk(about, choose) {
  const cards = about.sample_listeners.map((id, i) => {
    const note = h("span", { class: "song-artist", dir: "auto" }, "somebody from town");
    const card = h("button", { type: "button", class: "person", hidden: i >= FIRST }, h("span", { class: "thumb round-thumb" }, face(id)),
      h("span", { class: "song-words" }, h("span", { class: "song-title", dir: "auto" }, id), note));
    const known = call("GET", `/v1/users/${encodeURIComponent(id)}`).then((user) => {
      const words = describe(user);
      if (words.length) note.replaceChildren(...words);
      return user;
    }).catch(() => ({ id }));
    card.addEventListener("click", async () => choose({ id, region: (await known).region ?? undefined }));
    return card;
  });
  const more = h("button", { type: "button", class: "link", hidden: cards.length <= FIRST, onclick: () => {
    cards.forEach((card) => (card.hidden = false));
    more.hidden = true;
    cards[FIRST].focus();
  } }, "More people");
  return h("div", {}, h("div", { class: "people" }, cards), more);
}

function favourites(about) {
  const artists = new Set(), tags = new Set();
  const count = h("span", { class: "hush-inline", "aria-live": "polite" });
  const changed = () => {
    const n = artists.size + tags.size;
    count.textContent = n ? `${n} chosen` : "none chosen yet";
  };
  changed();
  const chips = [...about.tags.map((tag) => chip(tag, "tags", tags, changed)), ...about.artists.map((a) => chip(a.name, "artists", artists, changed))];
  const filter = h("input", { type: "search", class: "filter", placeholder: "Find an artist or a tag", "aria-label": "Find an artist or a tag", maxlength: 100,
    oninput: (event) => {
      const words = event.target.value.trim().toLocaleLowerCase();
      for (const node of chips) node.hidden = Boolean(words) && !node.dataset.text.includes(words);
    } });
  const set = h("fieldset", {}, h("legend", {}, "A few favourites ", count), filter, h("div", { class: "chips scroll", tabindex: 0, role: "group", "aria-label": "Tags and artists" }, chips));
  return { set, artists, tags };
}

function inventForm(about, choose) {
  const picks = favourites(about), wrong = h("p", { class: "wrong", role: "alert" });
  const form = h("form", { class: "invent" },
    about.regions.length ? oneOf("region", about.regions.slice(0, 24), "Where") : null,
    oneOf("age", about.age_bands, "Age"), picks.set, wrong,
    h("button", { class: "solid", type: "submit" }, "Start listening"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const told = new FormData(form), id = `guest-${randomId(5)}`, region = told.get("region") ?? undefined;
    const user = { id, region, age_band: told.get("age") ?? undefined, tags: [...picks.tags], artists: [...picks.artists] };
    try {
      await call("PUT", "/v1/users", { users: [user] });
      choose({ id, region });
    } catch (problem) {
      wrong.textContent = `That did not work: ${problem.body?.rejected?.[0]?.error ?? problem.message} Your choices are kept, try again.`;
    }
  });
  return form;
}

/** Open the dialog; the radio starts when somebody is chosen. `first` adds a welcome. */
export function chooseListener(radio, about, first = false) {
  const sheet = $("setup");
  const choose = (listener) => {
    sheet.close();
    radio.become(listener);
  };
  const parts = [
    h("header", { class: "sheet-head" },
      h("h2", { id: "setup-title", tabindex: -1, autofocus: true }, first ? "Who is listening?" : "Change the listener"),
      first ? h("p", {}, "A radio that learns from every finish and every skip. Borrow somebody's ears, or bring your own.") : null,
      h("button", { type: "button", class: "round quiet sheet-close", "aria-label": "Close", onclick: () => sheet.close() }, "×")),
  ];
  if (about.sample_listeners.length) parts.push(h("h3", {}, "Somebody from town"), townsfolk(about, choose));
  parts.push(h("h3", {}, "Somebody new"), inventForm(about, choose),
    h("button", { type: "button", class: "link", onclick: () => choose({ id: `guest-${randomId(5)}` }) }, "Just play, I will show you what I like"));
  sheet.replaceChildren(h("div", { class: "sheet-body" }, parts));
  sheet.showModal();
}
