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
    this.smoothed = null;
  }

  get length() {
    return this.rows.length;
  }
}

// The values of a figure, averaged over earlier ones with weights that fall by e within `share` of the curve's length.
// The same share smooths alike however many rows there are. The weights are normalized, so that the beginning is not
// drawn towards zero.
export function smooth(figure, positions, name, share) {
  const { smoothed } = figure;
  if (smoothed?.name === name && smoothed.share === share) return smoothed.values;
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
  figure.smoothed = { name, share, values: found };
  return found;
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

// Curves for a chart that is `width` pixels wide, between positions `low` and `high`: for each pixel the lowest and the
// highest value of each curve, in the order in which they came, so that no peak is lost. All curves share one list of
// positions, two a pixel; undefined is no value there, null a gap. One point on either side leads out of the chart.
export function thin(curves, low, high, width) {
  const slots = 2 * width;
  const scale = width / (high - low || 1);
  const before = [];
  const after = [];
  const inner = curves.map(({ figure, x, values }, number) => {
    const out = new Array(slots);
    const rows = figure.rows.data;
    const start = placeOf(figure, x, low);
    const end = placeOf(figure, x, high, true);
    if (start > 0) before.push({ at: x[rows[start - 1]], value: values[start - 1], number });
    if (end < figure.length) after.push({ at: x[rows[end]], value: values[end], number });
    let i = start;
    while (i < end) {
      const pixel = Math.min(width - 1, Math.floor((x[rows[i]] - low) * scale));
      const limit = pixel === width - 1 ? Infinity : low + (pixel + 1) / scale;
      let [lowest, highest, lowestAt, highestAt, gap] = [Infinity, -Infinity, -1, -1, false];
      do {
        const value = values[i];
        if (value - value !== 0) gap = true; // not finite
        else {
          if (value < lowest) [lowest, lowestAt] = [value, i];
          if (value > highest) [highest, highestAt] = [value, i];
        }
        i++;
      } while (i < end && x[rows[i]] < limit);
      const slot = 2 * pixel;
      if (lowestAt < 0) out[slot] = null;
      else if (lowestAt === highestAt) {
        out[slot] = lowest;
        if (gap) out[slot + 1] = null;
      } else {
        out[slot] = lowestAt < highestAt ? lowest : highest;
        out[slot + 1] = lowestAt < highestAt ? highest : lowest;
      }
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

// The range of the values between `low` and `high`, or null. `positive`: of the values above zero.
export function rangeOf(curves, low, high, positive) {
  let [least, most] = [Infinity, -Infinity];
  for (const { figure, x, values } of curves) {
    const end = placeOf(figure, x, high, true);
    for (let i = placeOf(figure, x, low); i < end; i++) {
      const value = values[i];
      if (value - value !== 0 || (positive && value <= 0)) continue;
      if (value < least) least = value;
      if (value > most) most = value;
    }
  }
  return least <= most ? [least, most] : null;
}
