// Plain decoding of the same prompt, beside what a method did before; then both are timed in turn.
import { askJson } from "./api.js";
import { at } from "./dom.js";
import { waitFor } from "./layers.js";
import { REPEATS, medianSpeed, shownSpeed, speedup } from "./speed.js";
import { Text } from "./text.js";
import { Verbatim } from "./verbatim.js";

export const PLAIN = "vanilla";
const SHORT = 16;  // decoded tokens: fewer say little of speed

export const bar = (name, share) => { at(`${name}-bar`).style.width = `${100 * Math.min(share, 1)}%`; };

export function clearRace() {
  for (const id of ["verdict", "timing", "own-counts", "vanilla-counts"]) at(id).textContent = "";
  at("vanilla").replaceChildren();
  bar("own", 0); bar("vanilla", 0);
}

export async function race(own, signal) {
  for (const id of ["verdict", "timing", "vanilla-counts"]) at(id).textContent = "";
  at("vanilla").replaceChildren();
  try { await judge(own, await runBeside(own, signal), signal); } finally { at("timing").textContent = ""; }
}

async function runBeside(own, signal) {
  const lane = { told: words => { at("vanilla-counts").textContent = words; }, moved: share => bar("vanilla", share) };
  const plain = new Text(own.path, { ...own.asked, dynexit: { method: PLAIN } }, new Verbatim(at("vanilla")), lane), began = performance.now();
  bar("own", 0);
  const clock = setInterval(() => { if (plain.first) own.replayed((performance.now() - began) / 1000 - plain.first); }, 16);
  try { await plain.run(signal); } finally { clearInterval(clock); bar("own", 1); }
  return plain;
}

async function judge(own, plain, signal) {
  const text = own.writesAs(plain) ? "The same text, token for token." : "The texts differ.";
  if (own.method === PLAIN) { at("verdict").textContent = text; return; }
  try {
    const timing = timed(own, plain, signal);
    waitFor(timing);
    at("verdict").textContent = `${text} ${speedOf(own, await timing)}`;
  } catch (error) {
    at("verdict").textContent = `${text} Their speeds were not compared to the end.`;
    throw error;
  }
}

// Medians of runs in turn; what the race began is their warm-up.
async function timed(own, plain, signal) {
  const texts = [own, plain], speeds = new Map(texts.map(text => [text, []])), count = REPEATS * texts.length;
  for (let turn = 0; turn < count; turn++) {
    const text = texts[turn % texts.length];
    at("timing").textContent = `Timing both in turn: run ${turn + 1} of ${count}…`;
    speeds.get(text).push((await askJson(text.path, text.asked, signal)).dynexit.tokens_per_second);
  }
  return texts.map(text => { const speed = medianSpeed(speeds.get(text)); text.tell(speed, " (median)"); return speed; });
}

function speedOf(own, [ours, plain]) {
  const ratio = speedup(ours, plain);
  if (ratio === null) return "Nothing was decoded after the first token: there is no speed to compare.";
  const short = own.ids.length <= SHORT ? " So short a text says little of speed." : "";
  return `${ratio.toFixed(2)} times as fast as plain decoding: ${shownSpeed(ours)} against ${shownSpeed(plain)} tokens/s, medians of ${REPEATS} runs of each, in turn.${short}`;
}
