// The experiments page: asks again every few seconds, and draws each metric's lift against time with its always-valid interval.

import { $, h, s, sentence } from "./dom.js";
import { call } from "./net.js";
import { figure, looking, lookingAgain, percent, when } from "./page.js";

const AGAIN_MS = 5000;
const state = { name: null, drawn: "" };

/** Lift of new over old against time: a line, its always-valid band, and the line of no difference. */
function lift(course, width, label) {
  const [height, left, right, top, bottom] = [170, 54, 8, 10, 22];
  const ends = course.flatMap((p) => [p.lift, p.low, p.high]).filter((v) => v !== null && Math.abs(v) < 1);
  const reach = Math.max(0.01, ...ends.map(Math.abs)) * 1.1;
  const [first, last] = [course[0].at, course.at(-1).at];
  const x = (at) => left + (last === first ? 0.5 : (at - first) / (last - first)) * (width - left - right);
  const y = (v) => top + (reach - Math.max(-reach, Math.min(reach, v))) / (2 * reach) * (height - top - bottom);
  const svg = s("svg", { role: "img", "aria-label": label, width, height, viewBox: `0 0 ${width} ${height}` });
  for (const v of [-reach / 1.1, 0, reach / 1.1]) {
    svg.append(s("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), stroke: "currentColor", "stroke-opacity": v ? 0.15 : 0.6 }));
    svg.append(s("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end", "font-size": 11, fill: "currentColor" }, percent(v)));
  }
  const band = course.filter((p) => p.low !== null && p.high !== null);
  if (band.length) {
    const points = [...band.map((p) => `${x(p.at)},${y(p.high)}`), ...[...band].reverse().map((p) => `${x(p.at)},${y(p.low)}`)];
    svg.append(s("polygon", { points: points.join(" "), fill: "currentColor", "fill-opacity": 0.14, class: "band" }));
  }
  svg.append(s("polyline", { points: course.map((p) => `${x(p.at)},${y(p.lift ?? 0)}`).join(" "), fill: "none", stroke: "var(--accent, #7aa2ff)", "stroke-width": 2 }));
  for (const p of course) {
    svg.append(s("circle", { cx: x(p.at), cy: y(p.lift ?? 0), r: 3, fill: "var(--accent, #7aa2ff)" },
      s("title", {}, `${when(p.at)}: old ${figure(p.old)}, new ${figure(p.new)}, lift ${percent(p.lift)} (${percent(p.low)} to ${percent(p.high)})`)));
  }
  for (const [at, anchor] of [[first, "start"], [last, "end"]]) {
    svg.append(s("text", { x: x(at), y: height - 6, "text-anchor": anchor, "font-size": 11, fill: "currentColor" }, when(at)));
  }
  return svg;
}

function card(metric) {
  const known = metric.lift !== undefined && metric.lift !== null;
  const chart = h("div", { class: "chart" });
  const made = h("section", { class: "card" },
    h("h2", {}, `${sentence(metric.metric.replaceAll("_", " "))}${metric.primary ? " (decides)" : ""}`),
    h("p", { class: "note" }, sentence(metric.text)),
    h("p", { class: "number" }, known ? percent(metric.lift) : "–", " ", h("small", {}, known ? `${percent(metric.always_low)} to ${percent(metric.always_high)}, valid at any time` : "")),
    h("p", { class: "against" }, known ? `old ${figure(metric.old)} (${metric.users_old.toLocaleString()}) · new ${figure(metric.new)} (${metric.users_new.toLocaleString()})` : ""),
    h("p", { class: "words" }, sentence(metric.words)), chart);
  return { made, draw: () => metric.course.length && chart.append(lift(metric.course, Math.max(chart.clientWidth, 240), `Lift in ${metric.text} against time`)) };
}

function answers(health) {
  const said = Object.entries(health || {}).filter(([, row]) => row.answers > 0).map(([arm, row]) =>
    `${arm} ${(100 * row.failed).toFixed(1)} % failed, ${(100 * row.late).toFixed(1)} % late, half within ${row.p50_ms === null ? "more than 5000" : row.p50_ms.toFixed(1)} ms`);
  return said.length ? ` Answers of this step: ${said.join("; ")}.` : "";
}

function draw(list, told) {
  $("pickers").replaceChildren(h("div", { class: "picker", role: "group", "aria-label": "Experiment" }, list.map((one) =>
    h("button", { class: "chip", type: "button", "aria-pressed": String(one.name === state.name), onclick: () => { state.name = one.name; looking("experiments", look); } }, one.name))));
  if (!told) {
    $("lead").textContent = "No experiment has been started yet: segue experiment start PLAN.toml";
  } else {
    const counts = Object.entries(told.assigned).map(([arm, n]) => `${n.toLocaleString()} ${arm}`).join(", ");
    $("lead").replaceChildren(h("strong", {}, told.verdict), ` ${told.hypothesis}. Step ${told.step + 1} of ${told.steps}; first influenced: ${counts}.`,
      told.a_a && told.a_a.lift !== null ? ` Old against old: ${percent(told.a_a.lift)}, as it should be near nothing.` : "",
      answers(told.health));
    const cards = told.metrics.map(card);
    $("metrics").replaceChildren(...cards.map((one) => one.made));
    for (const one of cards) one.draw();
    $("table").replaceChildren(
      h("thead", {}, h("tr", {}, ["when", "by", "what", "why"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, [...told.trail].reverse().map((e) => h("tr", {}, [when(e.at), e.by, e.what, e.why].map((cell) => h("td", {}, cell))))));
    $("trail").hidden = false;
  }
  $("experiments").setAttribute("aria-busy", "false");
}

async function look() {
  const { experiments } = await call("GET", "/v1/experiments");
  if (!experiments.some((one) => one.name === state.name)) state.name = experiments[0]?.name ?? null;
  const told = state.name && await call("GET", `/v1/experiments/${encodeURIComponent(state.name)}`);
  const drawn = JSON.stringify([experiments, told]);
  if (drawn !== state.drawn) draw(experiments, told);
  state.drawn = drawn;
}

lookingAgain("experiments", look, AGAIN_MS);
