// The deck: plays the song's sound when it has one, else lets a clock run as if it did.

import { mediaUrl } from "./net.js";

const TICK_MS = 250;
const VOLUME = "segue.volume";
export const UNKNOWN_S = 210;

function storedVolume() {
  try {
    const kept = JSON.parse(localStorage.getItem(VOLUME));
    if (kept && kept.level >= 0 && kept.level <= 1) return { level: kept.level, muted: Boolean(kept.muted) };
  } catch {
    // nothing kept, or storage is switched off
  }
  return { level: 0.8, muted: false };
}

/** Emits "tick" several times a second and "ended" once; position and length are in seconds.

 `sounding` says whether a sound is loaded; its own length then counts, not the one the catalogue tells. A sound that cannot
 be played leaves the clock in its place. One element plays every song, so that one press allows them all.
 */
export class Deck extends EventTarget {
  constructor() {
    super();
    this.audio = new Audio();
    this.audio.preload = "auto";
    this.sounding = false;
    this.path = null;
    this.current = false; // the element holds the sound of `path`, not that of the song before
    this.told = this.length = UNKNOWN_S;
    this.guessed = true; // nobody has told the length
    this.sought = null; // the share of a guessed length that the listener jumped to
    this.playing = false;
    this.at = 0;
    this.since = 0;
    this.#wire();
    Object.assign(this, storedVolume());
    this.setVolume(this.level, this.muted);
    setInterval(() => this.#tick(), TICK_MS);
  }

  #wire() {
    this.audio.addEventListener("loadedmetadata", () => {
      if (!this.sounding || !this.current) return;
      if (Number.isFinite(this.audio.duration)) this.length = this.audio.duration;
      if (this.at) this.audio.currentTime = Math.min(this.at, this.length);
      this.#say("tick");
    });
    this.audio.addEventListener("ended", () => this.#heard && this.playing && this.#say("ended"));
    this.audio.addEventListener("error", () => this.sounding && this.current && this.#silent());
  }

  /** Go on without the sound: from where it stopped, on the clock. */
  #silent() {
    this.at = this.position;
    this.since = performance.now();
    this.sounding = false;
    this.length = this.told;
    this.#say("tick");
  }

  /** Whether the element knows the length and the place of the song that was loaded last. */
  get #heard() {
    return this.sounding && this.current && this.audio.readyState > 0;
  }

  get position() {
    if (this.sounding) return Math.min(this.#heard ? this.audio.currentTime : this.at, this.length);
    return Math.min(this.length, this.at + (this.playing ? (performance.now() - this.since) / 1000 : 0));
  }

  load(length, position = 0, sound = null) {
    this.told = this.length = length || UNKNOWN_S;
    this.guessed = !length;
    this.sought = null;
    this.path = sound;
    this.sounding = Boolean(sound);
    this.current = false;
    this.audio.pause();
    this.at = Math.max(0, Math.min(position, this.length));
    this.since = performance.now();
    if (sound) this.#open(sound);
    else if (this.audio.hasAttribute("src")) this.audio.removeAttribute("src");
    this.#say("tick");
  }

  /** The song that plays, now that its length and its sound are known: it goes on, and a jump to its end still is one to its end. */
  learn(length, sound) {
    const share = this.sought;
    this.load(length, this.position, sound);
    if (share !== null) this.seek(share * this.length);
  }

  async #open(path) {
    const before = this.audio.src;
    try {
      const url = await mediaUrl(path);
      if (this.path !== path) return;
      this.audio.src = url;
      this.current = true;
      if (before.startsWith("blob:")) URL.revokeObjectURL(before);
      if (this.playing) this.#start();
    } catch {
      if (this.path === path) this.#silent();
    }
  }

  #start() {
    this.audio.play().catch((problem) => problem.name === "NotAllowedError" && this.pause()); // the browser wants a press first
  }

  play() {
    this.at = this.position;
    this.since = performance.now();
    this.playing = true;
    if (this.sounding && this.current) this.#start();
    this.#say("tick");
  }

  pause() {
    this.at = this.position;
    this.playing = false;
    this.audio.pause();
    this.#say("tick");
  }

  seek(seconds) {
    this.at = Math.max(0, Math.min(seconds, this.length));
    this.since = performance.now();
    if (this.guessed) this.sought = this.at / this.length;
    if (this.#heard) this.audio.currentTime = this.at;
    this.#say("tick");
  }

  /** Loudness from 0 to 1, and whether it is off; kept for the next visit. */
  setVolume(level, muted = false) {
    Object.assign(this, { level, muted });
    this.audio.volume = level * level; // the ear hears ratios
    this.audio.muted = muted;
    try {
      localStorage.setItem(VOLUME, JSON.stringify({ level, muted }));
    } catch {
      // storage is switched off: kept until the page is left
    }
    this.#say("volume");
  }

  #tick() {
    if (!this.playing) return;
    this.#say("tick");
    if (!this.sounding && this.position >= this.length - 0.05) this.#say("ended");
  }

  #say(name) {
    this.dispatchEvent(new Event(name));
  }
}
