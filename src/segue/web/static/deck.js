// The deck: plays the song's sound when it has one, else lets a clock run as if it did.

const TICK_MS = 250;
export const UNKNOWN_S = 210;

/** Emits "tick" several times a second and "ended" once; position and length are in seconds. */
export class Deck extends EventTarget {
  constructor() {
    super();
    this.audio = null;
    this.length = UNKNOWN_S;
    this.playing = false;
    this.at = 0;
    this.since = 0;
    setInterval(() => this.#tick(), TICK_MS);
  }

  get position() {
    if (this.audio) return Math.min(this.audio.currentTime, this.length);
    return Math.min(this.length, this.at + (this.playing ? (performance.now() - this.since) / 1000 : 0));
  }

  load(length, position = 0, sound = null) {
    this.audio?.pause();
    this.audio = sound ? new Audio(sound) : null;
    this.length = length || UNKNOWN_S;
    this.seek(position);
    if (this.playing) this.play();
  }

  play() {
    this.at = this.position;
    this.since = performance.now();
    this.playing = true;
    this.audio?.play().catch(() => this.pause()); // the browser wants a press first
    this.#say("tick");
  }

  pause() {
    this.at = this.position;
    this.playing = false;
    this.audio?.pause();
    this.#say("tick");
  }

  seek(seconds) {
    this.at = Math.max(0, Math.min(seconds, this.length));
    this.since = performance.now();
    if (this.audio) this.audio.currentTime = this.at;
    this.#say("tick");
  }

  #tick() {
    if (!this.playing) return;
    this.#say("tick");
    if (this.position >= this.length - 0.05) this.#say("ended");
  }

  #say(name) {
    this.dispatchEvent(new Event(name));
  }
}
