// The conversation: questions, answers, and what can be done with them.
import { copyButton } from "./copying.js";
import { at, make } from "./dom.js";
import { Formatted } from "./formatted.js";
import { bar } from "./race.js";
import { Text } from "./text.js";
import { Verbatim } from "./verbatim.js";

const NEAR = 60;  // pixels from the end: whoever is there stays there
const WALKED = "arrow keys move from token to token";
let turns = [];

const KEPT = "dynexit-chat";

export const isEmpty = () => !turns.length;
export const latest = () => turns.at(-1);

// All that was said before a turn, as the server takes it.
export function messages(system, turn = null) {
  const before = turn ? turns.slice(0, turns.indexOf(turn)) : turns;
  const first = system ? [{ role: "system", content: system }] : [];
  return [...first, ...before.flatMap(({ question, text }) => [{ role: "user", content: question }, { role: "assistant", content: text.view.source }])];
}

export function forget(from = 0) {
  for (const turn of turns.splice(from)) { turn.asked.remove(); turn.box.remove(); }
  at("welcome").hidden = turns.length > 0;
}

// A new turn at the end: its answer is not yet written.
export function addTurn(question, path, body, actions) {
  const chat = path.includes("chat"), box = make("article", "answer"), asked = make("div", "question", chat ? question : "");
  const view = make("div", chat ? "text formatted" : "text"), foot = make("footer", "dim"), counts = make("span", "counts");
  view.tabIndex = 0; view.setAttribute("role", "group"); view.setAttribute("aria-label", `Answer; ${WALKED}`);
  if (!chat) view.append(make("span", "prompt", question));
  foot.append(counts, ...actions(() => turn));
  box.append(view, foot);
  if (chat) at("turns").append(asked);
  at("turns").append(box);
  const told = words => { counts.textContent = `${text.method} · ${words}`; if (latest() === turn) at("own-counts").textContent = words; };
  const shown = chat ? new Formatted(view, follow) : new Verbatim(view, true);
  const text = new Text(path, body, shown, { told, moved: share => bar("own", share) });
  const turn = { question, text, asked, box };
  foot.append(copyButton(() => shown.source));
  view.walked = shown;
  turns.push(turn);
  at("welcome").hidden = true;
  at("turns").scrollTop = at("turns").scrollHeight;
  return turn;
}

// The conversation outlasts a reload: what the server sent is kept with the tab, and taken once more.
export function keep(model) {
  const kept = turns.map(({ question, text: { path, asked, rounds, counts, whole } }) => ({ question, path, asked, rounds, counts, whole }));
  try { sessionStorage.setItem(KEPT, JSON.stringify({ model, system: at("system").value, kept })); } catch { /* a browser that keeps nothing, or has no room */ }
}

export function restore(model, actions) {
  let found = null;
  try { found = JSON.parse(sessionStorage.getItem(KEPT)); } catch { /* as above */ }
  if (found?.model !== model) return;
  at("system").value = found.system;
  for (const { question, path, asked, ...sent } of found.kept) addTurn(question, path, asked, actions).text.retake(sent);
}

export function drop(turn) { if (turns.includes(turn)) forget(turns.indexOf(turn)); }

function follow() {
  const { scrollHeight, scrollTop, clientHeight } = at("turns");
  const last = latest()?.text.whole ? NEAR : Math.max(NEAR, clientHeight / 3);
  if (scrollHeight - scrollTop - clientHeight < last) at("turns").scrollTop = scrollHeight;
}
