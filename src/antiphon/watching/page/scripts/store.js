// What was read of the runs. Only the figures that are drawn are fetched, and of them only the rows that are new.
import { fetchFigures, fetchRuns } from "./api.js";
import { Figure, Growing } from "./series.js";

export const POSITIONS = ["step", "time_seconds", "tokens"];

export class Run {
  constructor(summary, number) {
    this.number = number;
    this.clear(summary.generation);
    this.update(summary);
  }

  clear(generation) {
    this.generation = generation;
    this.rows = 0; // rows whose positions are here
    this.positions = Object.fromEntries(POSITIONS.map((name) => [name, new Growing(Float64Array)]));
    this.figures = new Map();
  }

  update(summary) {
    this.summary = summary;
    this.name = summary.name;
    this.seen = Date.now();
  }

  // Fetch what is new of `names`. Returns whether anything came.
  async fetch(names) {
    const { summary } = this;
    const known = names.filter((name) => summary.figures.includes(name));
    const wanted = new Map(); // rows that are here -> names
    const want = (name, rows) => wanted.set(rows, [...(wanted.get(rows) ?? []), name]);
    const renewed = summary.generation !== this.generation;
    if (renewed || this.rows < summary.rows) for (const name of POSITIONS) want(name, renewed ? 0 : this.rows);
    for (const name of known) {
      const rows = renewed ? 0 : (this.figures.get(name)?.read ?? 0);
      if (rows < summary.rows || renewed) want(name, rows);
    }
    if (wanted.size === 0) return false;
    const parts = await Promise.all(
      [...wanted].map(([rows, some]) => fetchFigures(this.name, some, rows, renewed ? summary.generation : this.generation)),
    );
    if (parts.some((part) => part.generation !== parts[0].generation)) return false; // replaced meanwhile; at the next turn
    const generation = parts[0].generation;
    if (generation !== this.generation) {
      if (!parts.every((part) => part.start === 0)) return false;
      this.clear(generation);
    }
    for (const part of parts) this.take(part);
    return true;
  }

  take({ start, columns }) {
    for (const [name, column] of Object.entries(columns)) {
      if (POSITIONS.includes(name)) {
        const growing = this.positions[name];
        growing.append(column.subarray(Math.max(0, growing.length - start)));
      } else {
        if (!this.figures.has(name)) this.figures.set(name, new Figure());
        const figure = this.figures.get(name);
        figure.append(column.subarray(Math.max(0, figure.read - start)));
      }
    }
    this.rows = Math.min(...POSITIONS.map((name) => this.positions[name].length));
  }
}

export class Store {
  constructor() {
    this.runs = [];
    this.reached = true;
    this.fetching = null;
  }

  async refresh() {
    try {
      const summaries = await fetchRuns();
      const known = new Map(this.runs.map((run) => [run.name, run]));
      for (const summary of summaries) {
        if (known.has(summary.name)) known.get(summary.name).update(summary);
        else this.runs.push(new Run(summary, this.runs.length));
      }
      this.reached = true;
    } catch {
      this.reached = false;
    }
  }

  // Fetch `names` of `runs`; one fetch at a time, so that no row comes twice.
  async fetch(runs, names) {
    while (this.fetching) await this.fetching;
    this.fetching = Promise.all(runs.map((run) => run.fetch(names).catch(() => false)));
    try {
      return (await this.fetching).some(Boolean);
    } finally {
      this.fetching = null;
    }
  }
}
