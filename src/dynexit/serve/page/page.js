// The page: a conversation, or a text that goes on, and what happens inside the model meanwhile.
import { KeyWanted, askJson, setKey } from "./api.js";
import { at, make } from "./dom.js";
import { letGo } from "./layers.js";
import { clearRace, race } from "./race.js";
import { clearRounds, drawRounds } from "./rounds.js";
import { chosen, offer, system } from "./settings.js";
import { addTurn, drop, forget, isEmpty, keep, latest, messages, restore } from "./talk.js";

const EXAMPLES = {
  text: {
    "a word problem": "Question: A baker makes 12 trays of rolls with 9 rolls on each tray. She sells 70 rolls. How many rolls are left?\nAnswer:",
    "a translation": "German: Ich habe gestern meinen alten Freund in der Stadt gesehen.\nEnglish:",
    "a class": "import os\n\n\nclass Cache:\n    \"\"\"What was not used for long is forgotten.\"\"\"\n\n    def __init__(self, size):\n",
  },
  chat: {
    "a question": "Why is the sky blue?",
    "a program": "Write a Python function that returns the n-th Fibonacci number, then call it.",
    "a notice": "Rewrite this notice so that it sounds friendly:\nThe kitchen is closed from Monday to Wednesday because of repairs. Do not leave food in the fridge. Anyone who does will find it in the bin. The kitchen opens again on Thursday at nine.",
  },
};
const PATHS = { text: "v1/completions", chat: "v1/chat/completions" };
let card = null, running = null;

const kind = () => card?.chat ? "chat" : "text";

async function busily(work) {  // one thing at a time: what runs beside it would slow it
  if (running) return;
  const { signal } = running = new AbortController();
  at("run").textContent = "Stop"; at("error").textContent = "";
  document.body.classList.add("busy");
  try { await work(signal); } catch (error) { fail(error); } finally {
    running = null; at("run").textContent = card?.chat ? "Send" : "Run";
    if (card?.chat) keep(card.id);
    document.body.classList.remove("busy");
  }
}

const send = () => busily(async signal => {
  if (!card) await connect();
  clear();
  const question = at("prompt").value;
  if (!question.trim()) throw new Error(card.chat ? "The message is empty: write something." : "The prompt is empty: write some text to go on from.");
  const body = request(question, null);
  if (!card.chat) forget();
  const turn = addTurn(question, PATHS[kind()], body, actions);
  if (card.chat) at("prompt").value = "";
  await write(turn, signal);
});

const again = turn => busily(async signal => {  // with settings as they are now; drawn tokens are others
  if (Number(at("temperature").value)) at("seed").value = Number(at("seed").value) + 1;
  clear();
  const body = request(turn.question, turn);
  drop(turn);
  await write(addTurn(turn.question, turn.text.path, body, actions), signal);
});

const raceOf = turn => busily(async signal => { show(turn); await raced(turn, signal); });

async function raced(turn, signal) {
  document.body.classList.add("inside");  // on a phone, over the text
  await race(turn.text, signal);
}

function request(question, turn) {
  const options = { model: card.id, ...chosen() };
  if (!card.chat) return { ...options, prompt: question };
  return { ...options, messages: [...messages(system(), turn), { role: "user", content: question }] };
}

async function write(turn, signal) {
  const { text } = turn;
  at("own-name").textContent = text.method;
  now(turn);
  try { await text.run(signal, one => drawRounds(one, card.num_layers, false)); } catch (error) {
    if (!text.ids.length) refused(turn);
    throw error;
  }
  drawRounds(text, card.num_layers, true);
  if (at("racing").checked) await raced(turn, signal);
}

function refused(turn) {  // nothing of it stays, but the words
  drop(turn); clear();
  if (card.chat && !at("prompt").value) at("prompt").value = turn.question;
}

function clear() { at("error").textContent = ""; clearRace(); clearRounds(); letGo(); }

function show(turn) {  // this answer, in the panels beside the conversation
  clearRace(); clearRounds();
  at("own-name").textContent = turn.text.method;
  at("own-counts").textContent = turn.text.said ?? "";
  if (turn.text.whole) drawRounds(turn.text, card.num_layers, true);
  now(turn);
}

function now(turn) {
  for (const box of document.querySelectorAll(".answer.now")) box.classList.remove("now");
  turn.box.classList.add("now");
}

function actions(turn) {
  const action = (label, run) => {
    const button = make("button", "small", label);
    button.type = "button";
    button.addEventListener("click", () => { if (!running) run(turn()); });
    return button;
  };
  const races = action("Race plain decoding", raceOf);
  if (!card.chat) return [races];
  const regenerate = action("Regenerate", one => { if (one === latest()) again(one); });
  regenerate.classList.add("last-only");
  return [races, regenerate];
}

function fail(error) {
  if (error instanceof KeyWanted) askForKey(error.message);
  else if (error.name !== "AbortError") {
    const begin = card?.chat && !isEmpty() && /context/.test(error.message) ? " Or begin a new chat." : "";
    at("error").textContent = error.message + begin;
  }
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
  at("run").textContent = card.chat ? "Send" : "Run"; at("renew").textContent = card.chat ? "New chat" : "Clear";
  at("prompt").title = card.chat ? "Enter sends, Shift+Enter begins a new line" : "Ctrl+Enter runs";
  at("prompt").setAttribute("aria-label", at("prompt").placeholder = card.chat ? "Message" : "Prompt");
  describe(); offer(card); examples();
  if (card.chat && isEmpty()) restore(card.id, actions);
}

function describe() {
  const { id, parameters, weight_bytes: bytes, weights, runtime, num_layers: layers, exit_layer: exit, exit_agreement: agreement, max_positions: context } = card;
  const facts = {
    name: id.split("/").at(-1), size: `${(parameters / 1e6).toFixed(parameters < 1e8 ? 1 : 0)}M parameters, ${Math.round(bytes / 1e6)} MB`, weights,
    runtime: runtime.split(", ").slice(0, 2).join(", "), exits: `${layers} layers, ${exit ? `exit ${exit} agrees ${Math.round(100 * agreement)} %` : "no exit pays"}`, context: `context ${context}`,
  };
  at("model").replaceChildren(...Object.entries(facts).map(([name, value]) => { const one = make("span", "fact", value); one.title = name; return one; }));
}

function examples() {
  const texts = EXAMPLES[kind()];
  at("examples").replaceChildren(make("span", "dim", "Try"), ...Object.entries(texts).map(([name, text]) => {
    const chip = make("button", "chip", name);
    chip.type = "button";
    chip.addEventListener("click", () => { at("prompt").value = text; at("prompt").focus(); });
    return chip;
  }));
  if (!card.chat && !at("prompt").value) at("prompt").value = Object.values(texts)[0];
}

async function begin() {
  try { await connect(); } catch (error) {
    at("model").textContent = "";
    at("form").hidden = at("results").hidden = error instanceof KeyWanted;
    fail(error);
  }
}

at("form").addEventListener("submit", event => { event.preventDefault(); send(); });
at("run").addEventListener("click", event => {  // whatever the form holds by now
  if (running) { event.preventDefault(); running.abort(); }
});
at("prompt").addEventListener("keydown", event => {
  const bare = card?.chat && !event.shiftKey && !event.isComposing;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey || bare)) { event.preventDefault(); send(); }
});
document.addEventListener("keydown", event => { if (event.key === "Escape" && !at("settings").open) { if (running) running.abort(); else document.body.classList.remove("inside"); } });
at("turns").addEventListener("click", event => { if (event.target.known && matchMedia("(max-width: 800px)").matches) document.body.classList.add("inside"); });
at("renew").addEventListener("click", () => { running?.abort(); forget(); clear(); at("prompt").focus(); if (card?.chat) keep(card.id); });
at("open-inside").addEventListener("click", () => document.body.classList.toggle("inside"));
at("close-inside").addEventListener("click", () => document.body.classList.remove("inside"));
at("keyform").addEventListener("submit", event => { event.preventDefault(); setKey(at("key").value); begin(); });
letGo();
begin();
