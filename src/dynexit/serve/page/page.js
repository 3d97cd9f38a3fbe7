// The page: a method writes a text, plain decoding writes it again, and both are timed in turn.
import { KeyWanted, askJson, setKey } from "./api.js";
import { at, make } from "./dom.js";
import { Lane, empty } from "./lane.js";
import { pointAt, waitFor } from "./layers.js";
import { clearRounds, drawRounds } from "./rounds.js";
import { REPEATS, medianSpeed, shownSpeed, speedup } from "./speed.js";

const EXAMPLES = {
  "a word problem": "Question: A baker makes 12 trays of rolls with 9 rolls on each tray. She sells 70 rolls. How many rolls are left?\nAnswer:",
  "a translation": "German: Ich habe gestern meinen alten Freund in der Stadt gesehen.\nEnglish:",
  "a class": "import os\n\n\nclass Cache:\n    \"\"\"What was not used for long is forgotten.\"\"\"\n\n    def __init__(self, size):\n",
};
const PLAIN = "vanilla";
const FIELDS = { count: "a whole number from 1 to 1000", temperature: "a number from 0 to 2", seed: "a whole number from 0 on" };
const SHORT = 16;  // decoded tokens: fewer say little of speed
let card = null, running = null;

async function run() {
  const { signal } = running = new AbortController();
  at("run").textContent = "Stop";
  clear();
  try {
    if (!card) await connect();
    const asked = request();
    at("own-name").textContent = asked.dynexit.method;
    const own = await write(asked, signal), plain = await race(own, signal);
    await judge(own, plain, signal);
  } catch (error) { fail(error); } finally {
    running = null; at("run").textContent = "Run"; at("timing").textContent = "";
  }
}

function clear() {
  for (const id of ["error", "verdict", "timing"]) at(id).textContent = "";
  empty("own"); empty("vanilla"); clearRounds(); pointAt(null);
}

function request() {  // as the form says now: it may change while texts are written
  if (!at("prompt").value) throw new Error("The prompt is empty: write some text to go on from.");
  for (const [id, words] of Object.entries(FIELDS)) {
    if (!at(id).validity.valid) throw new Error(`${at(id).labels[0].textContent} must be ${words}.`);
  }
  return {
    model: card.id, prompt: at("prompt").value, max_tokens: Number(at("count").value),
    temperature: Number(at("temperature").value), seed: Number(at("seed").value),
    dynexit: { method: at("method").value },
  };
}

const plainly = asked => ({ ...asked, dynexit: { method: PLAIN } });

async function write(asked, signal) {
  const own = new Lane("own", asked);
  pointAt(own);
  try { await own.run(signal, lane => drawRounds(lane, card.num_layers, false)); } catch (error) {
    if (!own.ids.length) { empty("own"); pointAt(null); }  // refused
    throw error;
  }
  drawRounds(own, card.num_layers, true);
  return own;
}

async function race(own, signal) {  // plain decoding, beside what the method did before
  const plain = new Lane("vanilla", plainly(own.asked)), began = performance.now();
  own.bar(0);
  const clock = setInterval(() => { if (plain.first) own.replayed((performance.now() - began) / 1000 - plain.first); }, 16);
  try { await plain.run(signal, () => {}); } finally { clearInterval(clock); own.bar(1); }
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
  const lanes = [own, plain], speeds = new Map(lanes.map(lane => [lane, []])), count = REPEATS * lanes.length;
  for (let turn = 0; turn < count; turn++) {
    const lane = lanes[turn % lanes.length];
    at("timing").textContent = `Timing both in turn: run ${turn + 1} of ${count}…`;
    speeds.get(lane).push((await askJson("v1/completions", lane.asked, signal)).dynexit.tokens_per_second);
  }
  return lanes.map(lane => { const speed = medianSpeed(speeds.get(lane)); lane.tell(speed, " (median)"); return speed; });
}

function speedOf(own, [ours, plain]) {
  const ratio = speedup(ours, plain);
  if (ratio === null) return "Nothing was decoded after the first token: there is no speed to compare.";
  const short = own.ids.length <= SHORT ? " So short a text says little of speed." : "";
  return `${ratio.toFixed(2)} times as fast as plain decoding: ${shownSpeed(ours)} against ${shownSpeed(plain)} tokens/s, medians of ${REPEATS} runs of each, in turn.${short}`;
}

function fail(error) {
  if (error instanceof KeyWanted) askForKey(error.message);
  else if (error.name !== "AbortError") at("error").textContent = error.message;
}

function askForKey(words) {
  at("keywords").textContent = words;
  at("keyform").hidden = false;
  at("key").value = ""; at("key").focus();
}

async function connect() {
  card = (await askJson("v1/models")).data[0];
  at("keyform").hidden = true; at("form").hidden = at("results").hidden = false;
  at("error").textContent = "";
  at("model").textContent = `${card.id}: ${card.num_layers} layers, ${card.runtime}`;
  const names = [card.method, ...card.methods.filter(name => name !== PLAIN), PLAIN];
  at("method").replaceChildren(...[...new Set(names)].map(name => new Option(name, name)));
}

async function begin() {
  try { await connect(); } catch (error) {
    at("model").textContent = "";
    at("form").hidden = at("results").hidden = error instanceof KeyWanted;
    fail(error);
  }
}

at("form").addEventListener("submit", event => { event.preventDefault(); if (!running) run(); });
at("run").addEventListener("click", event => {  // whatever the form holds by now
  if (running) { event.preventDefault(); running.abort(); }
});
at("prompt").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); at("form").requestSubmit(); }
});
at("keyform").addEventListener("submit", event => { event.preventDefault(); setKey(at("key").value); begin(); });
for (const [name, text] of Object.entries(EXAMPLES)) {
  const chip = make("button", "chip", name);
  chip.type = "button";
  chip.addEventListener("click", () => { at("prompt").value = text; at("prompt").focus(); });
  at("examples").append(chip);
}
at("prompt").value = Object.values(EXAMPLES)[0];
pointAt(null);
begin();
