"use strict";
// What every part of a report's page uses: elements, numbers, axes. Text is only ever set as text.
const el = (id) => document.getElementById(id);
const make = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};
const shape = (tag, attributes, ...inside) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...inside);
  return node;
};
// three digits, as people read them
const round = (value, digits = 3) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 10 ** digits) return Math.round(value).toLocaleString("en");
  return size < 1e-4 ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
};
const range = (values) => [Math.min(...values), Math.max(...values)];
// an axis is logarithmic where values span decades; a 0 then stands at its lower edge
const scaleOf = (values, from, to, room = 0.05) => {
  const known = values.filter(Number.isFinite), positive = known.filter((v) => v > 0);
  const [low, high] = positive.length ? range(positive) : [0, 1];
  if (known.length && positive.length && high / low > 7 && known.every((v) => v >= 0)) {
    const zero = positive.length < known.length, margin = (high / low) ** room;
    const ends = [Math.log(zero ? low / 2 : low / margin), Math.log(high * margin)];
    const place = (v) => from + ((Math.log(v > 0 ? v : low / 2) - ends[0]) / (ends[1] - ends[0])) * (to - from);
    const back = (p) => Math.exp(ends[0] + ((p - from) / (to - from)) * (ends[1] - ends[0]));
    const ticks = logTicks(Math.exp(ends[0]), Math.exp(ends[1]), Math.abs(to - from)).map((t) => [t, round(t, 4)]);
    return { place, back, log: true, ticks: zero ? [[low / 2, "0"], ...ticks.filter(([t]) => t > low * 0.7)] : ticks };
  }
  const [least, most] = known.length ? range(known) : [0, 1];
  const spread = most - least || Math.abs(most) || 1, ends = [least - room * spread, most + room * spread];
  const place = (v) => from + ((v - ends[0]) / (ends[1] - ends[0])) * (to - from);
  const back = (p) => ends[0] + ((p - from) / (to - from)) * (ends[1] - ends[0]);
  return { place, back, log: false, ticks: evenTicks(ends[0], ends[1], Math.abs(to - from)) };
};
const logTicks = (low, high, pixels) => {
  let found = [];
  for (const digits of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 6, 8]]) {
    const next = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
      for (const d of digits) {
        const tick = Number(`${d}e${e}`);
        if (tick >= low && tick <= high) next.push(tick);
      }
    }
    if (found.length && next.length > Math.max(4, pixels / 45)) break;
    found = next;
    if (found.length >= 4) break;
  }
  return found;
};
const evenTicks = (low, high, pixels) => {
  const rough = (high - low) / Math.max(2, Math.min(8, pixels / 70));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((d) => d * power).find((d) => d >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k += 1) found.push([k * step, round(k * step, 5)]);
  return found;
};
const SHAPES = {
  circle: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  square: (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  diamond: (r) => `M0 ${-1.3 * r}L${1.3 * r} 0L0 ${1.3 * r}L${-1.3 * r} 0z`,
  triangle: (r) => `M0 ${-1.2 * r}L${1.15 * r} ${0.9 * r}L${-1.15 * r} ${0.9 * r}z`,
  plus: (r) => `M${-r / 2.5} ${-1.2 * r}h${r / 1.25}v${1.2 * r - r / 2.5}h${1.2 * r - r / 2.5}v${r / 1.25}h${-(1.2 * r - r / 2.5)}`
    + `v${1.2 * r - r / 2.5}h${-r / 1.25}v${-(1.2 * r - r / 2.5)}h${-(1.2 * r - r / 2.5)}v${-r / 1.25}h${1.2 * r - r / 2.5}z`,
  star: (r) => `M${[...Array(10).keys()].map((k) => {
    const a = (Math.PI * k) / 5, s = (k % 2 ? 0.6 : 1.45) * r;
    return `${(s * Math.sin(a)).toFixed(2)} ${(-s * Math.cos(a)).toFixed(2)}`;
  }).join("L")}z`,
};
const copyText = async (text, source) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    // a page of a file may not be allowed the clipboard: the text is selected, for Ctrl-C
    const selection = window.getSelection(), whole = document.createRange();
    whole.selectNodeContents(source);
    selection.removeAllRanges();
    selection.addRange(whole);
    return document.execCommand("copy");
  }
};
