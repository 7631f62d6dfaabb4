// A cover for every song, drawn from a hash: the artist gives the colours, the song the drawing. The same on every visit.

import { s } from "./dom.js";

/** 32-bit FNV-1a with a final mix. */
export function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
  value = Math.imul(value ^ (value >>> 12), 0x297a2d39);
  return (value ^ (value >>> 15)) >>> 0;
}

function dice(seed) {
  let state = seed || 1;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The hue of an artist, 0 to 359. */
export const hueOf = (artist) => hash(`hue ${artist}`) % 360;

function palette(artist) {
  const hue = hueOf(artist);
  const turn = [35, 150, 195, 320, 70][hash(`turn ${artist}`) % 5];
  const ink = (l, c, shift = 0) => `oklch(${l} ${c} ${(hue + shift) % 360})`;
  return { deep: ink(0.27, 0.07), mid: ink(0.52, 0.13), bright: ink(0.78, 0.14), other: ink(0.74, 0.15, turn), pale: ink(0.93, 0.04, turn) };
}

const DRAWINGS = [
  function sun(p, roll) {
    const x = 30 + roll() * 40, y = 34 + roll() * 18, r = 15 + roll() * 12;
    const bands = [0, 1, 2, 3, 4].map((i) => s("rect", { x: 0, y: 64 + i * 8, width: 100, height: 1.5 + i * 1.3, fill: i % 2 ? p.bright : p.mid }));
    return [s("rect", { width: 100, height: 100, fill: p.deep }), s("circle", { cx: x, cy: y, r, fill: p.other }), s("rect", { y: 62, width: 100, height: 38, fill: p.deep }), bands];
  },
  function rings(p, roll) {
    const x = roll() * 100, y = roll() * 100, step = 7 + roll() * 5, inks = [p.mid, p.bright, p.other, p.deep, p.pale];
    const out = [];
    for (let i = 14; i > 0; i--) out.push(s("circle", { cx: x, cy: y, r: i * step, fill: inks[i % (3 + Math.floor(roll() * 3))] }));
    return [s("rect", { width: 100, height: 100, fill: p.deep }), out];
  },
  function tiles(p, roll) {
    const inks = [p.mid, p.bright, p.other, p.pale, p.deep], n = 3 + Math.floor(roll() * 2), w = 100 / n, out = [];
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        const x = i * w, y = j * w, kind = Math.floor(roll() * 4);
        out.push(s("rect", { x, y, width: w + 0.3, height: w + 0.3, fill: inks[Math.floor(roll() * 5)] }));
        const cx = x + (kind & 1 ? w : 0), cy = y + (kind & 2 ? w : 0), sx = kind & 1 ? -w : w, sy = kind & 2 ? -w : w;
        out.push(s("path", { d: `M${cx} ${cy}h${sx}a${w} ${w} 0 0 ${(kind === 0 || kind === 3) ? 1 : 0} ${-sx} ${sy}Z`, fill: inks[Math.floor(roll() * 5)] }));
      }
    return out;
  },
  function waves(p, roll) {
    const out = [s("rect", { width: 100, height: 100, fill: p.pale })], inks = [p.bright, p.other, p.mid, p.deep];
    inks.forEach((fill, i) => {
      const y = 26 + i * 17 + roll() * 8, a = 6 + roll() * 14, b = roll() * 30;
      out.push(s("path", { d: `M0 ${y}C${20 + b} ${y - a * 2} ${30 + b} ${y + a * 2} 60 ${y}S90 ${y - a} 100 ${y + a / 2}V100H0Z`, fill }));
    });
    return out;
  },
  function halftone(p, roll) {
    const out = [s("rect", { width: 100, height: 100, fill: p.mid })], fx = roll() * 100, fy = roll() * 100;
    for (let i = 0; i < 10; i++)
      for (let j = 0; j < 10; j++) {
        const x = 5 + i * 10, y = 5 + j * 10, r = Math.max(0.6, 5.2 - Math.hypot(x - fx, y - fy) / 16);
        out.push(s("circle", { cx: x, cy: y, r, fill: (i + j) % 5 ? p.pale : p.other }));
      }
    return out;
  },
  function orbits(p, roll) {
    const out = [s("rect", { width: 100, height: 100, fill: p.deep })], x = 35 + roll() * 30, y = 35 + roll() * 30;
    for (let i = 1; i < 6; i++) {
      const r = i * (7 + roll() * 3), turn = roll() * Math.PI * 2;
      out.push(s("circle", { cx: x, cy: y, r, fill: "none", stroke: i % 2 ? p.bright : p.mid, "stroke-width": 0.7 }));
      out.push(s("circle", { cx: x + r * Math.cos(turn), cy: y + r * Math.sin(turn), r: 1.5 + roll() * 4, fill: i % 2 ? p.other : p.pale }));
    }
    return [...out, s("circle", { cx: x, cy: y, r: 4.5, fill: p.bright })];
  },
  function arches(p, roll) {
    const out = [s("rect", { width: 100, height: 100, fill: p.other })], x = 25 + roll() * 50, inks = [p.deep, p.bright, p.pale, p.mid, p.deep];
    inks.forEach((fill, i) => {
      const r = 46 - i * 9, top = 34 + i * 7;
      out.push(s("path", { d: `M${x - r} 100V${top + r}a${r} ${r} 0 0 1 ${2 * r} 0V100Z`, fill }));
    });
    return out;
  },
  function bars(p, roll) {
    const out = [s("rect", { width: 100, height: 100, fill: p.deep })], n = 9, w = 100 / n, inks = [p.bright, p.other, p.mid];
    for (let i = 0; i < n; i++) {
      const height = 14 + 66 * Math.abs(Math.sin(i * (0.4 + roll() * 0.3) + roll()));
      out.push(s("rect", { x: i * w + 1.4, y: 50 - height / 2, width: w - 2.8, height, rx: (w - 2.8) / 2, fill: inks[Math.floor(roll() * 3)] }));
    }
    return out;
  },
];

/** The cover of a song as an SVG element; decorative, so hidden from screen readers. */
export function cover(song) {
  const artist = song.artist || song.id;
  const roll = dice(hash(`drawing ${artist} / ${song.title} / ${song.id}`));
  const drawing = DRAWINGS[Math.floor(roll() * DRAWINGS.length)];
  return s("svg", { viewBox: "0 0 100 100", class: "cover", "aria-hidden": "true", preserveAspectRatio: "xMidYMid slice" }, drawing(palette(artist), roll).flat());
}

/** A small round face for a listener. */
export function face(name) {
  const p = palette(`listener ${name}`), roll = dice(hash(name));
  const x = 30 + roll() * 40, y = 30 + roll() * 40;
  return s("svg", { viewBox: "0 0 100 100", class: "face-svg", "aria-hidden": "true" },
    s("rect", { width: 100, height: 100, fill: p.mid }), s("circle", { cx: x, cy: y, r: 38, fill: p.bright }),
    s("circle", { cx: 100 - x, cy: 100 - y, r: 24, fill: p.other }));
}
