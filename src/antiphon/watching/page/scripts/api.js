// Requests to the server that has the logs.

async function get(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of Array.isArray(value) ? value : [value]) query.append(name, each);
  }
  const answer = await fetch(`${path}?${query}`, { cache: "no-store", signal: AbortSignal.timeout(60000) });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer;
}

export async function fetchRuns() {
  return (await (await get("api/runs")).json()).runs;
}

export async function fetchSettings() {
  return (await get("api/settings")).json();
}

export async function fetchSamples(run, start, generation) {
  return (await get("api/samples", { run, start, generation })).json();
}

const POSITIONS = new Set(["step", "time_seconds", "tokens"]);

// The columns of figures from row `start`: { generation, start, rows, columns: { name: Float64Array or Float32Array } }.
export async function fetchFigures(run, names, start, generation) {
  const buffer = await (await get("api/figures", { run, name: names, start, generation })).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const count = head.rows - head.start;
  let at = 4 + length;
  const columns = {};
  for (const name of head.names) {
    const Kind = POSITIONS.has(name) ? Float64Array : Float32Array;
    columns[name] = new Kind(buffer, at, count);
    at += Math.ceil((count * Kind.BYTES_PER_ELEMENT) / 8) * 8;
  }
  return { ...head, columns };
}
