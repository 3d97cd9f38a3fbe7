// How fast a method is beside plain decoding: dynexit/comparing.py in JavaScript. A speed is the
// median of runs in tokens per second of decoding, and a speedup is the ratio of two speeds.
export const REPEATS = 3;
const DIGITS = 4;  // of a speed, as many as are shown

export function medianSpeed(speeds) {
  const sorted = [...speeds].sort((a, b) => a - b), middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return Number(median.toPrecision(DIGITS));
}

export const speedup = (own, plain) => own && plain ? own / plain : null;

export function shownSpeed(speed) {
  return speed ? speed.toFixed(Math.max(DIGITS - 1 - Math.floor(Math.log10(speed)), 0)) : "-";
}
