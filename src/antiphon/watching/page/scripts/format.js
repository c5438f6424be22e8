// Figures, times and sizes as a reader expects them, in the language of the page.
import { pageLanguage, t } from "./texts.js";

const formats = new Map(); // making a format takes longer than its use

export function number(value, options = {}) {
  const key = `${pageLanguage()} ${JSON.stringify(options)}`;
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(pageLanguage(), options));
  return formats.get(key).format(value);
}

export function percent(share) {
  return number(share, { style: "percent", maximumFractionDigits: share > 0.995 && share < 1 ? 1 : 0 });
}

const PERCENT = new Set(["padding_waste"]);

export function figure(name, value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (name === "peak_memory_bytes") return bytes(value);
  if (PERCENT.has(name)) return number(value, { style: "percent", maximumFractionDigits: 1 });
  if (name === "tokens_per_second") return number(value, { maximumFractionDigits: 0 });
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  return number(value, { maximumSignificantDigits: size >= 1000 ? 5 : 4 });
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const place = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  return `${number(value / 1000 ** place, { maximumSignificantDigits: 3 })} ${units[place]}`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}\u00a0s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}\u00a0min${whole < 600 && whole % 60 ? ` ${whole % 60}\u00a0s` : ""}`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}\u00a0h ${Math.floor((whole % 3600) / 60)}\u00a0min`;
  return `${Math.floor(whole / 86400)}\u00a0d ${Math.floor((whole % 86400) / 3600)}\u00a0h`;
}

export function position(axis, value) {
  if (axis === "time") return duration(value);
  if (axis === "tokens") return short(value);
  return number(value, { maximumFractionDigits: 0 });
}

// 1,500,000 -> 1.5M
export function short(value) {
  return number(value, { notation: "compact", maximumSignificantDigits: 4 });
}

// Labels for the marks of an axis of positions.
export function marks(axis, values) {
  if (axis === "tokens") return values.map((value) => (value === null ? null : short(value)));
  if (axis !== "time") return values.map((value) => (value === null || value % 1 ? "" : short(value)));
  const widest = values.at(-1) ?? 0;
  return values.map((value) => (value === null ? null : clock(value, widest)));
}

function clock(value, widest) {
  const negative = value < 0 ? "−" : "";
  const seconds = Math.abs(Math.round(value));
  const two = (part) => String(part).padStart(2, "0");
  if (widest < 3600) return `${negative}${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return `${negative}${Math.floor(seconds / 3600)}:${two(Math.floor((seconds % 3600) / 60))} h`;
}

export function valueMarks(name, values) {
  const digits = digitsOf(values);
  return values.map((value) => {
    if (value === null) return null;
    if (name === "peak_memory_bytes") return bytes(value);
    if (PERCENT.has(name)) return percent(value);
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace(".0e", "e");
    return size >= 10000 ? short(value) : number(value, { maximumFractionDigits: digits });
  });
}

function digitsOf(values) {
  const steps = values.filter((value) => value !== null);
  const gap = steps.length > 1 ? Math.min(...steps.slice(1).map((value, place) => Math.abs(value - steps[place]) || Infinity)) : 1;
  return Number.isFinite(gap) && gap > 0 ? Math.min(6, Math.max(0, Math.ceil(-Math.log10(gap) + 0.001))) : 3;
}

const TITLES = new Set([
  "loss", "valid_loss", "nll", "lr", "grad_norm", "tokens_per_second", "padding_waste", "peak_memory_bytes", "step_seconds",
  "entropy_encoder", "entropy_decoder", "entropy_cross",
]);
const METRICS = { bleu: "BLEU", chrf: "chrF", "chrf++": "chrF++", ter: "TER", wer: "WER", per: "PER", cer: "CER" };

// The name of a figure for readers.
export function titleOf(name) {
  if (TITLES.has(name)) return t(`figure.${name}`);
  const [kind, ...rest] = name.split(":");
  const plain = kind.charAt(0).toUpperCase() + kind.slice(1).replaceAll("_", " ");
  const known = METRICS[kind] ?? (/^rouge/.test(kind) ? kind.replace("rouge", "ROUGE-") : plain);
  return [known, ...rest].join(":");
}
