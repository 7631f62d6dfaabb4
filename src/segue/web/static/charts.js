// Two charts in SVG, drawn at the width they have: a line with its interval over days, and a dot with its interval a row.

import { h, s } from "./dom.js";

const round = (value) => Math.round(value * 10) / 10;

/** A figure with three digits, without a leading zero in front of many. */
export const digits = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));

const words = (part) => `${digits(part.mean)}, 95 % interval ${digits(part.low)} to ${digits(part.high)}, ${part.users} listeners${part.enough ? "" : ": too few to trust"}`;

/** The end of an axis from 0, and its steps: 1, 2 or 5 times a power of ten. */
export function scale(most) {
  const top = Math.max(most, 1e-3);
  const power = 10 ** Math.floor(Math.log10(top / 4));
  const step = [1, 2, 5, 10].map((m) => m * power).find((candidate) => top / candidate <= 5);
  const count = Math.ceil(top / step - 1e-9);
  return { end: count * step, ticks: Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(6))) };
}

const highest = (parts) => Math.max(...parts.map((part) => part.high ?? part.mean ?? 0), 0);

/** Quality over days: the radio as a line with its interval, the baseline dotted. */
export function lines(radio, base, width, label) {
  const height = 250;
  const [left, right, top, bottom] = [44, 12, 12, 34];
  const axis = scale(highest([...radio, ...base]));
  const last = Math.max(...radio.map((part) => Number(part.group)), 1);
  const x = (part) => round(left + (Number(part.group) / last) * (width - left - right));
  const y = (value) => round(height - bottom - (value / axis.end) * (height - top - bottom));
  const path = (parts, key) => parts.map((part, i) => `${i ? "L" : "M"}${x(part)} ${y(part[key])}`).join("");
  const back = [...radio].reverse().map((part) => `L${x(part)} ${y(part.low)}`).join("");
  const every = Math.ceil((last + 1) / Math.max(2, Math.floor((width - left) / 56)));
  return s("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label },
    axis.ticks.flatMap((tick) => [
      s("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      s("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, String(tick)),
    ]),
    radio.filter((part) => Number(part.group) % every === 0).map((part) =>
      s("text", { x: x(part), y: height - 10, "text-anchor": "middle" }, part.group)),
    radio.length > 1 && s("path", { class: "area", d: `${path(radio, "high")}${back}Z` }),
    base.length > 1 && s("path", { class: "line base", d: path(base, "mean") }),
    s("path", { class: "line ours", d: path(radio, "mean") }),
    radio.flatMap((part) => [
      radio.length === 1 && s("line", { class: "whisker", x1: x(part), x2: x(part), y1: y(part.low), y2: y(part.high) }),
      s("circle", { class: part.enough ? "dot" : "dot few", cx: x(part), cy: y(part.mean), r: 4 }, s("title", {}, `Day ${part.group}: ${words(part)}`)),
    ]));
}

/** Quality by group: a row each, the radio a dot on its interval, the baseline a tick. */
export function rows(radio, base, width, label) {
  const [row, right, top] = [46, 14, 4];
  const height = top + radio.length * row + 24;
  const wide = width >= 380;
  const axis = scale(highest([...radio, ...base]));
  const x = (value) => round(6 + (value / axis.end) * (width - right - 6));
  const theirs = new Map(base.map((part) => [part.group, part]));
  return s("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label },
    axis.ticks.flatMap((tick) => [
      s("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: height - 22 }),
      s("text", { x: x(tick), y: height - 6, "text-anchor": "middle" }, String(tick)),
    ]),
    radio.flatMap((part, i) => {
      const y = top + i * row;
      const other = theirs.get(part.group);
      return [
        s("text", { x: 0, y: y + 16, class: "name" }, part.group),
        s("text", { x: width, y: y + 16, "text-anchor": "end" }, `${part.users.toLocaleString()}${wide ? " listeners" : ""}\u2003`, s("tspan", { class: "value" }, digits(part.mean))),
        s("line", { class: "whisker", x1: x(part.low), x2: x(part.high), y1: y + 31, y2: y + 31 }),
        other && s("line", { class: "mark", x1: x(other.mean), x2: x(other.mean), y1: y + 26, y2: y + 36 }),
        s("circle", { class: part.enough ? "dot" : "dot few", cx: x(part.mean), cy: y + 31, r: 5 }, s("title", {}, `${part.group}: ${words(part)}`)),
      ];
    }));
}

/** What the marks mean. */
export const legend = (line) => h("p", { class: "legend" },
  h("span", {}, s("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, s("line", { class: "whisker", x1: 2, x2: 20, y1: 6, y2: 6 }), s("circle", { class: "dot", cx: 11, cy: 6, r: 4 })), "the radio, with its 95 % interval"),
  h("span", {}, s("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, line ? s("line", { class: "line base", x1: 1, x2: 21, y1: 6, y2: 6 }) : s("line", { class: "mark", x1: 11, x2: 11, y1: 1, y2: 11 })), "the most played songs for everybody"),
  h("span", {}, s("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, s("circle", { class: "dot few", cx: 11, cy: 6, r: 4 })), "too few listeners to trust"));
