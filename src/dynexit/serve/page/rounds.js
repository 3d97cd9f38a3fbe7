// Round by round: exit layers, drafted and accepted tokens, speed.
import { at, counted } from "./dom.js";
import { shownSpeed } from "./speed.js";

const DRAW_EVERY = 250;  // milliseconds: drawing must not slow what it shows
const BY = { sources: "no exit", "second-model": "2nd model" };
let drawn = 0;

export function clearRounds() {
  at("rounds").hidden = true;
  for (const id of ["exits", "drafts", "speeds"]) at(id).replaceChildren();
  for (const id of ["exit-now", "draft-now", "speed-now", "round-count"]) at(id).textContent = "";
}

// The rounds so far: the last one in numbers, or, when the text is whole, all of them.
export function drawRounds(lane, depth, whole) {
  const rounds = lane.rounds.slice(1);
  if (!rounds.length || (!whole && performance.now() - drawn < DRAW_EVERY)) return;
  drawn = performance.now();
  at("rounds").hidden = false;
  const times = lane.rounds.map(r => r.at);
  const speeds = rounds.map((r, i) => r.tokens.filter(t => t.id >= 0).length / Math.max(times[i + 1] - times[i], 1e-6));
  const longest = Math.max(4, ...rounds.map(r => r.drafted));
  columns(at("exits"), rounds.map(r => exitColumn(r, depth)), depth);
  columns(at("drafts"), rounds.map(r => [[r.drafted, "recovered", .35], [r.accepted, "accepted", 1]]), longest);
  columns(at("speeds"), speeds.map(s => [[s, "dim", 1]]), Math.max(...speeds));
  const sum = name => rounds.reduce((total, r) => total + r[name], 0), [drafted, accepted] = [sum("drafted"), sum("accepted")];
  at("exit-label").textContent = `exit layer, of ${depth}`;
  at("exit-now").textContent = whole ? mostly(rounds.map(exitOf)) : exitOf(rounds.at(-1));
  at("draft-now").textContent = drafted ? `${Math.round(100 * accepted / drafted)} %` : "";
  at("speed-now").textContent = whole ? shownSpeed(lane.counts.tokens_per_second) : speeds.at(-1).toFixed(0);
  at("round-count").textContent = `${counted(rounds.length, "round")}, ${(1 + accepted / rounds.length).toFixed(2)} tokens each`;
}

function exitOf(round) {
  if (!round.drafted) return "plain";
  return round.exit_layer ? String(round.exit_layer) : BY[round.drafter] ?? round.drafter;
}

function exitColumn(round, depth) {
  if (!round.drafted) return [];
  return round.exit_layer ? [[round.exit_layer, "bonus", 1]] : [[depth / 12, "lookup", 1]];
}

function mostly(labels) {
  const often = new Map();
  for (const label of labels) often.set(label, (often.get(label) ?? 0) + 1);
  const [most] = [...often].reduce((best, one) => one[1] > best[1] ? one : best);
  return often.size > 1 ? `mostly ${most}` : most;
}

function columns(svg, values, most) {
  svg.setAttribute("viewBox", `0 0 ${Math.max(values.length, 40)} ${most}`);
  svg.replaceChildren(...values.flatMap((parts, x) => parts.map(([height, colour, opacity]) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ x: x + .1, y: most - height, width: .8, height, fill: `var(--${colour})`, opacity })) rect.setAttribute(name, value);
    return rect;
  })));
}
