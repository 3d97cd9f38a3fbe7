// A token that is pointed at: where it came from, and what every layer would have written there.
import { askJson } from "./api.js";
import { at, make, quoted, visible } from "./dom.js";

const WAYS = matchMedia("(hover: none)").matches ? "Tap a token" : "Point at a token, or walk through them with the arrow keys,";
const NOTHING = `${WAYS} to see what every layer would have written in its place.`;
const SOURCES = { accepted: "an accepted draft", lookup: "found in the text before", earlier: "found in an earlier text", table: "likely by a table that was learned", grammar: "the only one that the grammar allows", recovered: "the target's own, in the place of a rejected draft", bonus: "the target's own, after a draft that was accepted whole", target: "the target's own, in a plain step" };
const WINDOW = 16;  // tokens whose layers are asked for at once
let pinned = null, wanted = 0, quiet = Promise.resolve();

// No token is pointed at.
export function letGo() {
  chosen(null); pinned = null; wanted += 1;
  at("token-name").textContent = "A token"; at("token-name").className = "";
  at("token-about").textContent = NOTHING;
  at("layers").replaceChildren(); at("layers-key").hidden = true;
}

// Ask for nothing until this has ended: it would slow what is timed.
export function waitFor(promise) { quiet = promise.catch(() => {}); }

async function show(known) {
  const ticket = ++wanted;
  chosen(known);
  at("token-name").textContent = quoted(known.token.text); at("token-name").className = "verbatim";
  at("token-about").textContent = about(known);
  at("layers").replaceChildren(); at("layers-key").hidden = true;
  try {
    await quiet;
    if (ticket !== wanted) return;
    const layers = await layersOf(known.text, known.index);
    if (ticket === wanted) list(layers, known.round);
  } catch (error) { if (ticket === wanted) at("token-about").textContent = error.message; }
}

function chosen(known) {
  for (const span of document.querySelectorAll(".token.chosen")) span.classList.remove("chosen");
  if (known) for (const span of document.querySelectorAll("#turns .token")) if (span.known === known) span.classList.add("chosen");
}

function about({ round, token }) {
  if (!round.round) return "The prompt's own pass chose it: there was nothing to draft yet.";
  const sure = token.confidence === null ? "" : `, drafted with ${Math.round(100 * token.confidence)} % confidence`;
  const lost = round.rejected.length ? `; rejected: ${quoted(round.rejected[0].text)}` : "";
  return `Round ${round.round}: ${SOURCES[token.source] ?? token.source}${sure}. ${drafting(round)}${lost}.`;
}

function drafting(round) {
  const share = `${round.accepted} of ${round.drafted} accepted`;
  if (!round.drafted) return "No draft in this round";
  if (round.exit_layer) return `Exit layer ${round.exit_layer}, ${share}`;
  return round.drafter === "sources" ? `Proposed without a pass, ${share}` : `Drafted by a smaller model, ${share}`;
}

async function layersOf(its, index) {
  const page = Math.floor(index / WINDOW), offset = index - page * WINDOW;
  its.layers ??= new Map();
  const ended = its.whole, known = its.layers.get(page);
  if (known && known.texts.length > offset) return pick(known, offset);
  const body = { tokens: [...its.prompt, ...its.ids], start: its.prompt.length + page * WINDOW, count: WINDOW };
  const told = await askJson("dynexit/layers", body);
  if (ended || told.texts.length === WINDOW) its.layers.set(page, told);
  return pick(told, offset);
}

const pick = (told, offset) => told.texts[offset].map((text, layer) => ({ text, confidence: told.confidences[offset][layer] }));

function list(layers, round) {
  const final = layers.at(-1).text;
  at("layers-key").hidden = false;
  at("layers").replaceChildren(...layers.map(({ text, confidence }, index) => {
    const item = make("li", text === final ? "same" : "");
    if (index + 1 === round.exit_layer) item.classList.add("exit");
    const meter = make("span", "meter"), level = make("i");
    level.style.width = `${100 * confidence}%`;
    meter.append(level); meter.title = `${(100 * confidence).toFixed(1)} %`;
    item.append(make("span", "dim", index + 1), make("b", "", visible(text)), meter);
    return item;
  }));
}

function walk(known, step) {
  const now = known.indexOf(pinned);
  pinned = known[Math.max(0, Math.min(known.length - 1, now < 0 && step < 0 ? known.length - 1 : now + step))];
  show(pinned);
  document.querySelector("#turns .token.chosen")?.scrollIntoView({ block: "nearest" });
}

at("turns").addEventListener("mouseover", event => { if (event.target.known) show(event.target.known); });
at("turns").addEventListener("mouseleave", () => { if (pinned) show(pinned); });
at("turns").addEventListener("click", event => { if (event.target.known) show(pinned = event.target.known); });
at("turns").addEventListener("keydown", event => {
  const step = { ArrowRight: 1, ArrowDown: 8, ArrowLeft: -1, ArrowUp: -8 }[event.key], known = event.target.walked?.known;
  if (step && known?.length) { event.preventDefault(); walk(known, step); }
});
