// Curves as typed arrays: growing, smoothing, finding and thinning. Nothing here touches the document.

// An array of numbers that grows at its end.
export class Growing {
  constructor(Kind) {
    this.Kind = Kind;
    this.data = new Kind(256);
    this.length = 0;
  }

  reserve(count) {
    if (this.length + count <= this.data.length) return;
    const larger = new this.Kind(Math.max(this.length + count, 2 * this.data.length));
    larger.set(this.data.subarray(0, this.length));
    this.data = larger;
  }

  append(values) {
    this.reserve(values.length);
    this.data.set(values, this.length);
    this.length += values.length;
  }

  push(value) {
    if (this.length === this.data.length) this.reserve(1);
    this.data[this.length++] = value;
  }
}

// A figure of a run: the rows that have it, and its values. NaN in a column is a row without it; an infinity is a value
// that is not finite.
export class Figure {
  constructor() {
    this.rows = new Growing(Uint32Array);
    this.values = new Growing(Float32Array);
    this.read = 0; // rows of the log that were looked at
    this.extremes = new Extremes();
    this.smoothed = null;
  }

  append(column) {
    this.rows.reserve(column.length);
    this.values.reserve(column.length);
    for (let i = 0; i < column.length; i++) {
      if (Number.isNaN(column[i])) continue;
      this.rows.push(this.read + i);
      this.values.push(column[i]);
    }
    this.read += column.length;
    this.extremes.extend(this.values.data, this.values.length);
    this.smoothed = null;
  }

  get length() {
    return this.rows.length;
  }
}

const FACTOR = 16;
const NONE = 0xffffffff;

// The places of the lowest and the highest value of any part of a curve, found without looking at all its values: from
// those of whole blocks of 16, 256, 4096, ... values.
export class Extremes {
  constructor() {
    this.levels = []; // of each: places of the lowest and highest values of its complete blocks
    this.gaps = []; // places of values that are not finite
    this.length = 0;
  }

  extend(values, length) {
    for (let i = this.length; i < length; i++) if (values[i] - values[i] !== 0) this.gaps.push(i);
    this.length = length;
    for (let level = 0, size = FACTOR; size <= length; level++, size *= FACTOR) {
      const { low, high } = (this.levels[level] ??= { low: new Growing(Uint32Array), high: new Growing(Uint32Array) });
      const inner = this.levels[level - 1];
      for (let block = low.length; (block + 1) * size <= length; block++) {
        let [lowAt, highAt] = [NONE, NONE];
        for (let part = block * FACTOR; part < (block + 1) * FACTOR; part++) {
          const [least, most] = inner ? [inner.low.data[part], inner.high.data[part]] : [part, part];
          if (least === NONE || values[least] - values[least] !== 0) continue;
          if (lowAt === NONE || values[least] < values[lowAt]) lowAt = least;
          if (highAt === NONE || values[most] > values[highAt]) highAt = most;
        }
        low.push(lowAt);
        high.push(highAt);
      }
    }
    return this;
  }

  // The places between `start` and `end` (not included) as `this.lowAt` and `this.highAt`; NONE if no value is finite.
  find(values, start, end) {
    let [lowAt, highAt] = [NONE, NONE];
    let at = start;
    while (at < end) {
      let level = -1;
      let size = 1;
      while (level + 1 < this.levels.length && at % (size * FACTOR) === 0 && at + size * FACTOR <= end && at / (size * FACTOR) < this.levels[level + 1].low.length) {
        level++;
        size *= FACTOR;
      }
      const block = at / size;
      const least = level < 0 ? at : this.levels[level].low.data[block];
      const most = level < 0 ? at : this.levels[level].high.data[block];
      if (least !== NONE && values[least] - values[least] === 0) {
        if (lowAt === NONE || values[least] < values[lowAt]) lowAt = least;
        if (highAt === NONE || values[most] > values[highAt]) highAt = most;
      }
      at += size;
    }
    this.lowAt = lowAt;
    this.highAt = highAt;
  }

  hasGap(start, end) {
    return this.gaps.length > 0 && this.gaps.some((place) => place >= start && place < end);
  }
}

// The values of a figure and their extremes, averaged over earlier ones with weights that fall by e within `share` of the curve's length.
// The same share smooths alike however many rows there are. The weights are normalized, so that the beginning is not
// drawn towards zero.
export function smooth(figure, positions, name, share) {
  const { smoothed } = figure;
  if (smoothed?.name === name && smoothed.share === share) return smoothed;
  const x = positions[name].data;
  const rows = figure.rows.data;
  const values = figure.values.data;
  const count = figure.length;
  const found = new Float32Array(count);
  const length = count ? share * (x[rows[count - 1]] - x[rows[0]]) : 0;
  let [sum, weight, before, distance, kept] = [0, 0, 0, -1, 0];
  for (let i = 0; i < count; i++) {
    const here = x[rows[i]];
    const step = i ? here - before : 0;
    before = here;
    if (step !== distance) {
      distance = step;
      kept = length > 0 ? Math.exp(-step / length) : 0;
    }
    const value = values[i];
    if (!Number.isFinite(value)) {
      found[i] = value;
      continue;
    }
    sum = kept * sum + (1 - kept || 1e-9) * value;
    weight = kept * weight + (1 - kept || 1e-9);
    found[i] = sum / weight;
  }
  figure.smoothed = { name, share, values: found, extremes: new Extremes().extend(found, count) };
  return figure.smoothed;
}

// The first place in a figure whose position is at least `at` (`after`: larger than `at`).
export function placeOf(figure, x, at, after = false) {
  const rows = figure.rows.data;
  let low = 0;
  let high = figure.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const here = x[rows[middle]];
    if (here < at || (after && here === at)) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The place whose position is nearest to `at`; -1 for a figure without values.
export function nearest(figure, x, at) {
  if (figure.length === 0) return -1;
  const after = Math.min(placeOf(figure, x, at), figure.length - 1);
  const rows = figure.rows.data;
  return after > 0 && at - x[rows[after - 1]] < x[rows[after]] - at ? after - 1 : after;
}

// Curves for a chart of `width` columns between positions `low` and `high`: for each column the lowest and the highest
// value of each curve, in the order in which they came, so that no peak is lost. All curves share one list of positions,
// two a column; undefined is no value there, null a gap. One point on either side leads out of the chart.
export function thin(curves, low, high, width) {
  const slots = 2 * width;
  const scale = width / (high - low || 1);
  const before = [];
  const after = [];
  const inner = curves.map(({ figure, x, values, extremes }, number) => {
    const out = new Array(slots);
    const rows = figure.rows.data;
    const start = placeOf(figure, x, low);
    const end = placeOf(figure, x, high, true);
    if (start > 0) before.push({ at: x[rows[start - 1]], value: values[start - 1], number });
    if (end < figure.length) after.push({ at: x[rows[end]], value: values[end], number });
    let i = start;
    while (i < end) {
      const column = Math.min(width - 1, Math.floor((x[rows[i]] - low) * scale));
      const next = column === width - 1 ? end : Math.max(i + 1, firstFrom(rows, x, low + (column + 1) / scale, i, end));
      extremes.find(values, i, next);
      const { lowAt, highAt } = extremes;
      const slot = 2 * column;
      if (lowAt === NONE) out[slot] = null;
      else if (lowAt === highAt) {
        out[slot] = values[lowAt];
        if (extremes.hasGap(i, next)) out[slot + 1] = null;
      } else {
        out[slot] = values[Math.min(lowAt, highAt)];
        out[slot + 1] = values[Math.max(lowAt, highAt)];
      }
      i = next;
    }
    return { out, count: end - start };
  });
  before.sort((a, b) => a.at - b.at);
  after.sort((a, b) => a.at - b.at);
  const positions = new Float64Array(before.length + slots + after.length);
  before.forEach(({ at }, place) => (positions[place] = at));
  for (let slot = 0; slot < slots; slot++) positions[before.length + slot] = low + (slot / 2 + 0.25) / scale;
  after.forEach(({ at }, place) => (positions[before.length + slots + place] = at));
  const drawn = inner.map(({ out }, number) => {
    const own = (points) => points.map((point) => (point.number === number ? finite(point.value) : undefined));
    return [...own(before), ...out, ...own(after)];
  });
  return { positions, curves: drawn, counts: inner.map(({ count }) => count) };
}

function finite(value) {
  return Number.isFinite(value) ? value : null;
}

// The first place from `start` on (at most `end`) whose position is at least `limit`. It is near, so the steps begin
// small and double.
function firstFrom(rows, x, limit, start, end) {
  let step = 1;
  let low = start;
  while (low + step < end && x[rows[low + step]] < limit) {
    low += step;
    step *= 2;
  }
  let high = Math.min(end, low + step);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[rows[middle]] < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The range of the values between `low` and `high`, or null. `positive`: of the values above zero.
export function rangeOf(curves, low, high, positive) {
  let [least, most] = [Infinity, -Infinity];
  for (const { figure, x, values, extremes } of curves) {
    const start = placeOf(figure, x, low);
    const end = placeOf(figure, x, high, true);
    extremes.find(values, start, end);
    const { lowAt, highAt } = extremes;
    if (lowAt === NONE || (positive && values[highAt] <= 0)) continue;
    most = Math.max(most, values[highAt]);
    if (!positive || values[lowAt] > 0) least = Math.min(least, values[lowAt]);
    else for (let i = start; i < end; i++) if (values[i] > 0) least = Math.min(least, values[i]);
  }
  return least <= most ? [least, most] : null;
}
