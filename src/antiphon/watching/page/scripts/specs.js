// Which charts there are for the figures that the runs have.

const GROUPS = [
  { id: "quality", names: ["loss", "nll"] },
  { id: "optimization", names: ["lr", "grad_norm"] },
  { id: "speed", names: ["tokens_per_second", "step_seconds", "padding_waste", "peak_memory_bytes"] },
  { id: "attention", names: ["entropy_encoder", "entropy_decoder", "entropy_cross"] },
];
const NOT_DRAWN = new Set(["seconds_left", "trainable_parameters", "valid_loss"]);
const KNOWN = new Set(GROUPS.flatMap(({ names }) => names));

// Groups of charts: [{ id, charts: [{ id, names }] }]. A chart has a figure, and the loss the validation loss beside it.
export function specsOf(runs) {
  const figures = new Set(runs.flatMap((run) => run.summary.figures));
  const metrics = [...figures].filter((name) => !KNOWN.has(name) && !NOT_DRAWN.has(name));
  const sameLoss = runs.every(({ summary: { last } }) => last.nll === undefined || last.nll === last.loss);
  return GROUPS.map(({ id, names }) => {
    const present = names.filter((name) => figures.has(name) && !(name === "nll" && sameLoss));
    const charts = present.map((name) => ({ id: name, names: name === "loss" ? ["loss", "valid_loss"] : [name] }));
    if (id === "quality") {
      if (!figures.has("loss") && figures.has("valid_loss")) charts.unshift({ id: "valid_loss", names: ["valid_loss"] });
      charts.splice(1, 0, ...metrics.map((name) => ({ id: name, names: [name] })));
    }
    return { id, charts };
  }).filter(({ charts }) => charts.length > 0);
}
