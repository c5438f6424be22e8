// Called with the share of smoothing. Returns what differs from a search of all values; nothing should.
async (share) => {
  const { Figure, rangeOf, smooth, thin } = await import("/scripts/series.js");
  const COLUMNS = 50;
  const wrong = [];
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const drawnValue = () => (random() < 0.05 ? -Infinity : random() < 0.1 ? NaN : random() * 9 - 4);

  function check(count) {
    const x = Float64Array.from({ length: count }, (_, i) => i * 1.5 + random());
    const column = Float32Array.from(x, drawnValue);
    const figure = new Figure();
    for (let at = 0; at < count; at += 1000) figure.append(column.subarray(at, at + 1000));
    const plain = { values: figure.values.data, extremes: figure.extremes };
    const { values, extremes } = share ? smooth(figure, { step: { data: x } }, "step", share) : plain;
    const curve = { figure, x, values, extremes };
    const points = Array.from({ length: figure.length }, (_, i) => [x[figure.rows.data[i]], values[i]]);
    for (let turn = 0; turn < 10; turn++) {
      const end = x[count - 1];
      checkPart(count, curve, points, random() * end * 0.8, end * (0.85 + random() / 5));
    }
  }

  function checkPart(count, curve, points, low, high) {
    const inside = points.filter(([at]) => at >= low && at <= high);
    const finite = inside.map(([, value]) => value).filter(Number.isFinite);
    const wanted = finite.length ? [Math.min(...finite), Math.max(...finite)] : null;
    const found = rangeOf([curve], low, high, false);
    if (JSON.stringify(found) !== JSON.stringify(wanted)) wrong.push(["range", count, found, wanted]);
    const { positions, curves: [drawn], counts } = thin([curve], low, high, COLUMNS);
    if (counts[0] !== inside.length) wrong.push(["count", count, counts[0], inside.length]);
    if (positions.some((at, i) => i > 0 && at < positions[i - 1])) wrong.push(["order", count]);
    const width = (high - low) / COLUMNS;
    for (let slot = 0; slot < COLUMNS; slot++) {
      const isHere = (at) => Math.min(COLUMNS - 1, Math.floor((at - low) / width)) === slot;
      const own = inside.filter(([at]) => isHere(at)).map(([, value]) => value).filter(Number.isFinite);
      const from = low + slot * width;
      const here = drawn.filter((value, i) => typeof value === "number" && positions[i] >= from && positions[i] < from + width);
      const same = own.length === 0 ? here.length === 0 : Math.min(...own) === Math.min(...here) && Math.max(...own) === Math.max(...here);
      if (!same) wrong.push(["column", count, slot, own.length, here.length]);
    }
  }

  for (const count of [1, 2, 15, 16, 17, 255, 4097, 20000]) check(count);
  return wrong.slice(0, 5);
}
