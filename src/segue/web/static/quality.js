// The quality page: fetches what the night found once, and draws it for the metric and the test that are chosen.

import { $, h, sentence } from "./dom.js";
import { call } from "./net.js";
import { looking } from "./page.js";
import { digits, legend, lines, rows } from "./charts.js";

const NAMES = {
  ndcg: ["NDCG", "how much of what was wanted stands how high in the list"],
  recall: ["Recall", "share of what was wanted that the list holds"],
  "next hit": ["Next song", "how often the very next song that was wanted is in the list"],
  "next mrr": ["Next song, rank", "1 / place of the very next song that was wanted"],
  precision: ["Precision", "share of the list that was wanted"],
  hit: ["Hit rate", "listeners for whom the list holds anything that was wanted"],
  coverage: ["Catalogue shown", "share of the playable songs that stand in any list"],
  novelty: ["Novelty", "bits of surprise in a song of a list: low are the hits"],
};
const DIMENSIONS = { listening: "By time with the service", region: "By region", "age band": "By age" };
const state = { told: null, test: "night", metric: null };

const kind = (metric) => metric.split("@")[0];
const named = (metric) => `${(NAMES[kind(metric)] ?? [sentence(kind(metric))])[0]}@${metric.split("@")[1]}`;
const day = (ms) => new Date(ms).toLocaleDateString(undefined, { year: "numeric", month: "short", day: "numeric" });

/** The test that is looked at: the night's, or the judgement of days since. */
const test = () => (state.test === "since" ? state.told.since : state.told);

const of = (list, model, metric) => list.filter((part) => part.model === model && part.metric === metric && part.mean !== null);

function picker(label, options, chosen, choose) {
  return h("div", { class: "picker", role: "group", "aria-label": label }, options.map(([value, text]) =>
    h("button", { class: "chip", type: "button", "aria-pressed": String(value === chosen), onclick: () => { choose(value); draw(); } }, text)));
}

function lead() {
  const { data } = test();
  const many = (data.test_users ?? 0).toLocaleString();
  const what = state.test === "since"
    ? `on what listeners did after it was trained, ${day(data.trained_to_ms)} to ${day(data.to_ms)}`
    : data.cut_ms ? `by the same recipe fitted up to ${day(data.cut_ms)}, on the days held back after that` : "not at all: no listener had plays before and after a cut";
  $("lead").replaceChildren("Model ", h("strong", {}, state.told.version), `, judged ${what}. ${many} listeners.`);
}

function card(metric) {
  const found = (model) => test().figures.find((figure) => figure.model === model && figure.metric === metric);
  const [ours, most, random] = ["radio", "most played", "random"].map(found);
  if (!ours || ours.mean === null) return null;
  return h("section", { class: "card" },
    h("h2", {}, named(metric)),
    h("p", { class: "note" }, sentence((NAMES[kind(metric)] ?? ["", ""])[1])),
    h("p", { class: "number" }, digits(ours.mean), " ", h("small", {}, `${digits(ours.low)} to ${digits(ours.high)}`)),
    h("p", { class: "against" }, `most played ${digits(most?.mean)} · random ${digits(random?.mean)}`));
}

function spread() {
  const found = (model) => test().quality?.spreads.find((one) => one.model === model);
  const [ours, most] = [found("radio"), found("most played")];
  if (!ours || ours.coverage === null) return null;
  return h("section", { class: "card" },
    h("h2", {}, NAMES.coverage[0]),
    h("p", { class: "note" }, sentence(NAMES.coverage[1])),
    h("p", { class: "number" }, `${(100 * ours.coverage).toFixed(1)} %`, " ", h("small", {}, `Gini ${digits(ours.gini)}`)),
    h("p", { class: "against" }, `${ours.lists.toLocaleString()} lists of ${ours.k} · most played ${(100 * (most?.coverage ?? 0)).toFixed(1)} %`));
}

function drawDays(days) {
  const [radio, base] = [of(days, "radio", state.metric), of(days, "most played", state.metric)];
  $("by-day").hidden = radio.length === 0;
  if (!radio.length) return;
  const next = kind(state.metric).startsWith("next");
  $("day-note").textContent = next
    ? "The model stays as it was trained, the listener's last plays are those of the moment. Day 0 is the first 24 hours."
    : "The list made when training ended, against what was wanted on each day after. Day 0 is the first 24 hours.";
  const chart = $("day-chart");
  chart.replaceChildren(lines(radio, base, Math.max(chart.clientWidth, 240), `${named(state.metric)} by day since training`), legend(true));
}

function drawSegments(segments) {
  const parts = [...new Set(segments.map((part) => part.dimension))];
  const cards = parts.map((dimension) => {
    const mine = segments.filter((part) => part.dimension === dimension);
    const [radio, base] = [of(mine, "radio", state.metric), of(mine, "most played", state.metric)];
    const chart = h("div", { class: "chart" });
    return { radio, base, chart, title: DIMENSIONS[dimension] ?? sentence(`by ${dimension}`) };
  }).filter((one) => one.radio.length);
  $("segments").replaceChildren(...cards.map((one) => h("section", { class: "card" }, h("h2", {}, one.title), one.chart)));
  for (const one of cards) {
    const width = Math.max(one.chart.clientWidth, 240);
    one.chart.append(rows(one.radio, one.base, width, `${named(state.metric)}, ${one.title.toLowerCase()}`), legend(false));
  }
}

function drawTable(figures) {
  const models = [...new Set(figures.map((figure) => figure.model))];
  const metrics = [...new Set(figures.map((figure) => figure.metric))];
  const cells = new Map(figures.map((figure) => [`${figure.model}|${figure.metric}`, figure]));
  $("all").hidden = figures.length === 0;
  $("table").replaceChildren(
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), models.map((model) => h("th", { scope: "col" }, model)))),
    h("tbody", {}, metrics.map((metric) => h("tr", {}, h("td", {}, metric), models.map((model) => {
      const found = cells.get(`${model}|${metric}`);
      const known = found && found.mean !== null;
      return h("td", { title: known ? `${digits(found.low)} to ${digits(found.high)}, ${found.users} listeners` : null }, known ? digits(found.mean) : "");
    })))));
}

function draw() {
  const { quality, figures } = test();
  const metrics = [...new Set((quality?.days ?? []).concat(quality?.segments ?? []).map((part) => part.metric))];
  if (!metrics.includes(state.metric)) state.metric = metrics[0] ?? null;
  lead();
  const tests = [["night", "Days held back by the night"], ...(state.told.since ? [["since", "Days since training"]] : [])];
  $("pickers").replaceChildren(
    ...(tests.length > 1 ? [picker("Test", tests, state.test, (value) => { state.test = value; })] : []),
    ...(metrics.length ? [picker("Metric", metrics.map((metric) => [metric, named(metric)]), state.metric, (value) => { state.metric = value; })] : []));
  const most = Math.max(...figures.map((figure) => Number(figure.metric.split("@")[1])), 0);
  $("cards").replaceChildren(...[...["ndcg", "recall", "next hit"].map((name) => card(`${name}@${most}`)), spread()].filter(Boolean));
  drawDays(quality?.days ?? []);
  drawSegments(quality?.segments ?? []);
  drawTable(figures);
  if (!quality) $("lead").append(" It was trained by an older version: the next night measures it by listener and by day.");
  $("quality").setAttribute("aria-busy", "false");
}

async function look() {
  state.told = await call("GET", "/v1/quality");
  draw();
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width || !state.told) return;
  width = innerWidth;
  draw();
});
looking("quality", look);
