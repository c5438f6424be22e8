// The colours of runs, and the inks of charts: from the style sheet, since a canvas knows no variables.
export const COLOURS = 10;
const DASHES = [null, [8, 3], [2, 3], [8, 3, 2, 3]];
const resolved = new Map();

export function classOf(number) {
  return `run-${number % COLOURS}`;
}

// Runs beyond the colours repeat them with other dashes.
export function dashOf(number) {
  return DASHES[Math.floor(number / COLOURS) % DASHES.length];
}

export function colourOf(number, faint = false) {
  return read(classOf(number), faint ? 0.28 : 1);
}

export function inkOf() {
  return { text: read("ink-text", 1), grid: read("ink-grid", 1) };
}

export function forgetColours() {
  resolved.clear();
}

function read(name, alpha) {
  const key = `${name} ${alpha}`;
  if (!resolved.has(key)) {
    const probe = document.createElement("span");
    probe.className = `${name} probe`;
    document.body.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    resolved.set(key, alpha === 1 ? colour : colour.replace(/^rgb\((.*)\)$/, (all, parts) => `rgba(${parts}, ${alpha})`));
  }
  return resolved.get(key);
}
