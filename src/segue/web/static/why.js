// "Why this song?": what the server knows of how a song came into its slate, fetched when it is asked for.

import { $, h, sentence, sourceWords } from "./dom.js";
import { call } from "./net.js";

function fact(name, words) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, words));
}

/** One feature: what it was, and a bar to the right where it spoke for the song, to the left where against. */
function moved({ feature, moved }, most) {
  const share = most ? Math.round((Math.abs(moved) / most) * 50) : 0;
  const bar = h("span", { class: `moved ${moved < 0 ? "against" : "for"}`, style: `--share:${share}%` });
  const words = `${moved < 0 ? "against" : "for"} it, ${Math.abs(moved).toFixed(2)}`;
  return h("li", { title: words }, h("span", { class: "moved-name" }, feature), bar, h("span", { class: "moved-by" }, `${moved > 0 ? "+" : "−"}${Math.abs(moved).toFixed(2)}`));
}

function tell(song, told) {
  const most = Math.max(0, ...(song.features ?? []).map((one) => Math.abs(one.moved)));
  const chance = song.propensity < 1 ? `, chance ${(song.propensity * 100).toFixed(song.propensity < 0.1 ? 1 : 0)} % here` : "";
  return [
    h("p", { class: "reason" }, sentence(song.reason)),
    h("dl", { class: "facts" },
      fact("Offered by", song.sources.map(sourceWords).join(", ")),
      fact("Place", `${song.place + 1}${song.explored ? ", drawn to explore" : ", the best that was allowed"}${chance}`),
      fact("Score", `${song.score.toPrecision(3)}${told.ranker ? ` by ${told.ranker}` : ""}`),
      fact("Answer", [told.rung, told.policy].filter(Boolean).join(", "))),
    song.features?.length ? h("ul", { class: "moves", "aria-label": "What spoke for and against it" }, song.features.map((one) => moved(one, most))) : null,
    told.note ? h("p", { class: "hush" }, sentence(told.note)) : null,
  ].filter(Boolean);
}

/** Open the sheet for a song of a slate. */
export async function showWhy(song) {
  $("why-title").textContent = song.title || song.id;
  $("why-body").replaceChildren(h("p", { class: "hush" }, "Asking…"));
  $("why-sheet").showModal();
  const ask = new URLSearchParams({ request: song.request_id, item: song.id });
  try {
    const told = await call("GET", `/v1/explain?${ask}`);
    $("why-body").replaceChildren(...tell(told.items[0], told));
  } catch (problem) {
    $("why-body").replaceChildren(h("p", { class: "hush" }, problem.message));
  }
}
