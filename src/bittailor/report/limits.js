"use strict";
// Limits on values: numbers to type, the rectangle in the chart and stretches on the parallel axes are one and the same.
const limited = (data, changed) => {
  const limits = new Map();
  const of = (s, name) => (s.values[name] === undefined ? NaN : s.values[name] / data.axes[name].divisor);
  const found = data.solutions.filter((s) => s.id[0] !== "b");
  const names = Object.keys(data.axes).filter((n) => found.some((s) => n in s.values));
  const fields = new Map();
  const rows = el("limit-rows");
  for (const name of names) {
    const axis = data.axes[name], known = found.map((s) => of(s, name)).filter(Number.isFinite), [low, high] = range(known);
    const row = make("div", undefined, "limit"), words = make("span", axis.unit ? `${name} [${axis.unit}]` : name, "what");
    words.title = axis.label;
    const pair = ["at least", "at most"].map((side, k) => {
      const field = make("input");
      field.type = "number";
      field.step = "any";
      field.placeholder = round([low, high][k], 4).replaceAll(",", "");
      field.setAttribute("aria-label", `${axis.label}: ${side}`);
      field.addEventListener("input", () => {
        const ends = [...(limits.get(name) || [-Infinity, Infinity])];
        ends[k] = field.value === "" ? [-Infinity, Infinity][k] : Number(field.value);
        set({ [name]: ends }, false);
      });
      return field;
    });
    fields.set(name, pair);
    row.append(words, pair[0], make("span", "to"), pair[1]);
    rows.append(row);
  }
  const decimal = (v) => (Number.isFinite(v) ? String(Number(v.toPrecision(4))) : "");
  function set(ends, write = true) {
    for (const [name, pair] of Object.entries(ends)) {
      if (!fields.has(name)) continue;
      if (!pair || (pair[0] === -Infinity && pair[1] === Infinity)) limits.delete(name);
      else limits.set(name, pair);
      if (write) fields.get(name).forEach((field, k) => { field.value = pair ? decimal(pair[k]) : ""; });
    }
    tell();
    changed();
  }
  function clear() {
    if (limits.size) set(Object.fromEntries([...limits.keys()].map((n) => [n, null])));
  }
  // what no limit excludes; null where there is none
  function passing() {
    if (!limits.size) return null;
    return new Set(data.solutions.filter((s) => [...limits].every(([name, [low, high]]) => {
      const v = of(s, name);
      return v >= low && v <= high;
    })).map((s) => s.id));
  }
  function tell() {
    const kept = passing(), count = kept ? found.filter((s) => kept.has(s.id)).length : found.length;
    el("passing").textContent = kept ? `${count} of ${found.length} solutions are within the limits.` : `All ${found.length} solutions; no limits set.`;
    el("clear").disabled = !limits.size;
  }
  el("clear").addEventListener("click", clear);
  tell();
  return { set, clear, passing, limits, of, names };
};
