// One text while it is written: its tokens, its rounds, and how far it was when.
import { ask, events } from "./api.js";
import { counted } from "./dom.js";
import { shownSpeed } from "./speed.js";

export class Text {
  // `view` shows tokens; `told` is called with what there is to count, `moved` with the share that is written.
  constructor(path, asked, view, { told = () => {}, moved = () => {} } = {}) {
    Object.assign(this, { path, asked, view, told, moved, limit: asked.max_tokens, method: asked.dynexit.method });
    this.ids = []; this.prompt = []; this.rounds = []; this.times = []; this.whole = false;
  }

  async run(signal, onRound = () => {}) {
    const body = { ...this.asked, stream: true, dynexit: { method: this.method, trace: true } };
    try {
      for await (const event of events(await ask(this.path, body, signal))) {
        const reason = event.choices?.[0]?.finish_reason;
        if (reason) this.reason = reason;
        if (event.dynexit?.tokens) { this.take(event.dynexit); onRound(this); }
        else if (event.dynexit) this.counts = event.dynexit;
      }
      this.whole = true;
      this.moved(1);
      this.tell(this.counts.tokens_per_second, " in this run");
    } finally { this.view.end(); }
  }

  take(round) {
    if (round.prompt_ids) { this.prompt = round.prompt_ids; this.first = round.at; }
    this.rounds.push(round);
    for (const token of round.tokens) {
      if (token.text) this.view.add({ index: this.ids.length, round, token, text: this });
      if (token.id >= 0) this.ids.push(token.id);
    }
    if (round.rejected.length) this.view.strike(round.rejected);
    const seconds = round.at - this.first;
    this.times.push([seconds, this.ids.length]);
    this.moved(this.ids.length / this.limit);
    this.say(seconds > 0 ? `${((this.ids.length - 1) / seconds).toFixed(0)} tokens/s` : "");
  }

  retake({ rounds, counts, whole }) {  // what was written before the page was loaded anew
    for (const round of rounds) this.take(round);
    Object.assign(this, { counts, whole });
    this.view.end();
    if (whole) this.tell(counts.tokens_per_second, " in this run");
  }

  tell(speed, of = "") { this.say(speed ? `${shownSpeed(speed)} tokens/s${of}` : ""); }

  say(speed) { this.said = [counted(this.ids.length, "token"), speed].filter(Boolean).join(" · "); this.told(this.said); }

  replayed(seconds) {  // how far it was, so many seconds after its first token
    let reached = 0;
    for (const [time, count] of this.times) if (time <= seconds) reached = count;
    this.moved(reached >= this.ids.length ? 1 : reached / this.limit);
  }

  writesAs(other) {
    return this.ids.length === other.ids.length && this.ids.every((id, i) => id === other.ids[i]);
  }
}
