"use strict";
// Parallel coordinates of three objectives or more: a line a solution, the best value of each axis at the bottom. A
// stretch drawn along an axis is a limit, the same as in the list of limits.
class Parallel {
  // names: the axes; lines: [{id, tone, dash, values: {name: value}}]; axis(name) -> {title, unit, maximise}
  constructor(host, on) {
    Object.assign(this, { host, on, marks: {}, spec: null, width: 0 });
    this.tip = make("div", undefined, "tip");
    this.tip.hidden = true;
    host.classList.add("chart");
    new ResizeObserver(() => {
      if (this.spec && Math.abs(host.clientWidth - this.width) > 1) this.draw(this.spec);
    }).observe(host);
  }

  draw(spec) {
    this.spec = spec;
    this.width = this.host.clientWidth;
    const gap = Math.max(112, Math.min(260, (this.width - 120) / Math.max(1, spec.names.length - 1)));
    const width = Math.max(this.width, gap * (spec.names.length - 1) + 120), height = 330;
    this.top = 46;
    this.bottom = height - 58;
    this.places = new Map(spec.names.map((name, k) => [name, 60 + k * gap]));
    this.scales = new Map(spec.names.map((name) => {
      const ends = spec.axis(name).maximise ? [this.top, this.bottom] : [this.bottom, this.top];
      return [name, scaleOf(spec.lines.map((l) => l.values[name]), ...ends, 0)];
    }));
    const svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": "Parallel coordinates of every objective; the same figures stand in the table below" });
    this.lines = new Map();
    for (const line of spec.lines) {
      const d = spec.names.map((n, k) => `${k ? "L" : "M"}${this.places.get(n)} ${this.scales.get(n).place(line.values[n]).toFixed(1)}`).join("");
      const node = shape("path", { class: `line ${line.tone}`, d, "data-id": line.id, "stroke-dasharray": line.dash || "none" });
      const wide = shape("path", { class: "catch", d });
      wide.addEventListener("click", () => this.on.choose(line.id));
      wide.addEventListener("pointerenter", (event) => this.hover(line.id, event));
      wide.addEventListener("pointerleave", () => this.hover(null));
      this.lines.set(line.id, node);
      svg.append(node, wide);
    }
    for (const name of spec.names) this.axis(svg, name);
    this.host.replaceChildren(svg, this.tip);
    this.mark(this.marks);
  }

  axis(svg, name) {
    const x = this.places.get(name), about = this.spec.axis(name), scale = this.scales.get(name);
    const text = (words, y, kind) => {
      const node = shape("text", { x, y, class: `${kind} middle` });
      node.textContent = words;
      svg.append(node);
    };
    svg.append(shape("path", { class: "axis", d: `M${x} ${this.top}V${this.bottom}` }));
    const values = this.spec.lines.map((l) => l.values[name]), [low, high] = range(values);
    const [best, worst] = about.maximise ? [high, low] : [low, high];
    text(`${round(worst)} ${about.unit}`.trim(), this.top - 8, "tick");
    text(`${round(best)} ${about.unit}`.trim(), this.bottom + 16, "tick");
    text(about.short, this.bottom + 34, "label");
    text([scale.log ? "log" : "", about.maximise ? "more is better" : ""].filter(Boolean).join(", "), this.bottom + 49, "tick");
    const limit = this.spec.limits.get(name);
    if (limit) {
      const held = (v) => Math.min(this.bottom, Math.max(this.top, scale.place(v)));
      const [a, b] = [Number.isFinite(limit[0]) ? held(limit[0]) : held(low), Number.isFinite(limit[1]) ? held(limit[1]) : held(high)];
      svg.append(shape("rect", { class: "brush", x: x - 7, y: Math.min(a, b), width: 14, height: Math.max(3, Math.abs(a - b)) }));
    }
    const grip = shape("rect", { class: "grip", x: x - 10, y: this.top, width: 20, height: this.bottom - this.top });
    const at = (event) => Math.min(this.bottom, Math.max(this.top, event.clientY - svg.getBoundingClientRect().top));
    let start = null;
    grip.addEventListener("pointerdown", (event) => { start = at(event); grip.setPointerCapture(event.pointerId); });
    grip.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const [from, to] = [start, at(event)].map((p) => scale.back(p)).sort((p, q) => p - q);
      const short = Math.abs(start - at(event)) < 5;
      start = null;
      this.on.limit(name, short ? null : [from, to]);
    });
    svg.append(grip);
  }

  hover(id, event) {
    this.on.hover(id);
    this.tip.hidden = !id;
    if (!id) return;
    this.tip.replaceChildren(this.on.tip(id));
    const frame = this.host.getBoundingClientRect();
    this.tip.style.left = `${Math.max(4, Math.min(event.clientX - frame.left + 14, this.host.clientWidth - this.tip.offsetWidth - 4))}px`;
    this.tip.style.top = `${Math.max(4, event.clientY - frame.top - this.tip.offsetHeight - 8)}px`;
  }

  mark(marks) {
    this.marks = marks;
    if (!this.lines) return;
    for (const [id, node] of this.lines) {
      node.classList.toggle("chosen", id === marks.chosen);
      node.classList.toggle("other", id === marks.other);
      node.classList.toggle("hover", id === marks.hover);
      node.classList.toggle("dim", Boolean(marks.passing) && !marks.passing.has(id));
    }
  }
}
