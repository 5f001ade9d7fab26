"use strict";
// A chart of points: axes, series, a legend that shows and hides, a tip, and a rectangle that the reader draws.
// Colours are classes, so that a change between light, dark and print needs no drawing.
class Chart {
  // on: { choose(id), hover(id or null), brush({x: [low, high], y: [low, high]}), clear(), tip(id) -> element }
  constructor(host, legend, on) {
    Object.assign(this, { host, legend, on, hidden: new Set(), marks: {}, spec: null, width: 0 });
    this.tip = make("div", undefined, "tip");
    this.tip.hidden = true;
    host.classList.add("chart");
    host.tabIndex = 0;
    host.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => {
      if (this.spec && Math.abs(host.clientWidth - this.width) > 1) this.draw(this.spec);
    }).observe(host);
  }

  // spec: { x, y: {label, values}, series, rules, height }; a series: { name, tone, shape, size, hollow, line, points:
  // [{id, x, y, note}], bars: [{x, low, high, id}], cloud: [[x, y]], dash }
  draw(spec) {
    this.spec = spec;
    this.width = this.host.clientWidth;
    const width = Math.max(260, this.width), height = spec.height || (width < 560 ? 340 : 430);
    const measure = scaleOf(spec.y.values, height, 0).ticks.map(([, text]) => text.length);
    const left = 34 + 7 * Math.max(2, ...measure), box = { left, right: width - 12, top: 12, bottom: height - 44 };
    const xs = scaleOf(spec.x.values, box.left, box.right), ys = scaleOf(spec.y.values, box.bottom, box.top);
    Object.assign(this, { box, xs, ys });
    const svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    this.plot = shape("g", {});
    this.axes(svg, spec);
    for (const rule of spec.rules || []) {
      if (this.hidden.has(rule.name)) continue;
      this.plot.append(shape("path", { class: `rule ${rule.tone}`, d: `M${box.left} ${ys.place(rule.y)}H${box.right}`,
        "stroke-dasharray": rule.dash }));
    }
    this.points = [];
    for (const series of spec.series) if (!this.hidden.has(series.name)) this.series(series);
    this.rings = shape("g", {});
    this.sheet = shape("rect", { class: "brush", width: 0, height: 0, visibility: "hidden" });
    svg.append(this.plot, this.rings, this.sheet);
    this.host.replaceChildren(svg, this.tip);
    this.listen(svg);
    this.key_of(spec);
    this.mark(this.marks);
  }

  axes(svg, spec) {
    const { box, xs, ys } = this;
    const text = (words, at, more = {}) => {
      const node = shape("text", { ...at, ...more });
      node.textContent = words;
      svg.append(node);
    };
    let last = -Infinity;
    for (const [tick, words] of xs.ticks) {
      const x = xs.place(tick);
      svg.append(shape("path", { class: "grid", d: `M${x} ${box.top}V${box.bottom}` }));
      if (x - last < 7 * words.length + 10) continue;
      last = x;
      text(words, { x, y: box.bottom + 16 }, { class: "tick middle" });
    }
    for (const [tick, words] of ys.ticks) {
      const y = ys.place(tick);
      svg.append(shape("path", { class: "grid", d: `M${box.left} ${y}H${box.right}` }));
      text(words, { x: box.left - 6, y: y + 4 }, { class: "tick end" });
    }
    svg.append(shape("path", { class: "axis", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }));
    // a label that is too long gives way to a short one: the name and the unit
    const fit = ({ label, short }, room) => (label.length * 6.6 <= room ? label : short || label.slice(0, Math.floor(room / 6.6) - 1) + "…");
    text(fit(spec.x, box.right - box.left), { x: (box.left + box.right) / 2, y: box.bottom + 36 }, { class: "label middle" });
    text(fit(spec.y, box.bottom - box.top + 30), { x: 0, y: 0 },
      { class: "label middle", transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)` });
  }

  series(series) {
    const { xs, ys } = this, group = shape("g", { class: `series ${series.tone}` });
    if (series.cloud) {
      // one path of round dots: thousands cost no more than one element
      const dots = series.cloud.map(([x, y]) => `M${xs.place(x).toFixed(1)} ${ys.place(y).toFixed(1)}h0`).join("");
      group.append(shape("path", { class: "dots", d: dots }));
    }
    const held = (y) => Math.min(this.box.bottom, Math.max(this.box.top, y));
    for (const bar of series.bars || []) {
      group.append(shape("path", { class: "bar", "data-id": bar.id,
        d: `M${xs.place(bar.x)} ${held(ys.place(bar.low))}V${held(ys.place(bar.high))}` }));
    }
    const points = series.points || [];
    if (series.line && points.length > 1) {
      const way = points.map((p, k) => {
        const [x, y] = [xs.place(p.x), ys.place(p.y)];
        return k === 0 ? `M${x} ${y}` : series.line === "step" ? `H${x}V${y}` : `L${x} ${y}`;
      }).join("");
      group.append(shape("path", { class: "line", d: way, "stroke-dasharray": series.dash || "none" }));
    }
    for (const p of points) {
      const [x, y] = [xs.place(p.x), ys.place(p.y)];
      const node = shape("path", { class: series.hollow ? "point hollow" : "point", d: SHAPES[series.shape](series.size || 5),
        transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, "data-id": p.id });
      group.append(node);
      if (p.note) {
        const note = shape("text", { class: "note", x: x + 8, y: y - 7 });
        note.textContent = p.note;
        group.append(note);
      }
      this.points.push({ id: p.id, x, y, main: !series.hollow });
    }
    this.plot.append(group);
  }

  key_of(spec) {
    const entries = [...spec.series, ...(spec.rules || [])].filter((s) => s.name && !s.quiet);
    this.legend.replaceChildren(...entries.map((s) => {
      const button = make("button", undefined, "key");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!this.hidden.has(s.name)));
      const sample = shape("svg", { width: 26, height: 16, viewBox: "-13 -8 26 16", class: `series ${s.tone}`, "aria-hidden": "true" });
      if (s.line || s.dash) sample.append(shape("path", { class: s.y === undefined ? "line" : `rule ${s.tone}`, d: "M-12 0H12", "stroke-dasharray": s.dash || "none" }));
      if (s.bars && !s.points) sample.append(shape("path", { class: "bar", d: "M0 -7V7" }));
      if (s.cloud) sample.append(shape("path", { class: "dots", d: "M-6 -2h0M0 3h0M6 -1h0" }));
      if (s.shape) sample.append(shape("path", { class: s.hollow ? "point hollow" : "point", d: SHAPES[s.shape](Math.min(5, s.size || 5)) }));
      button.append(sample, make("span", s.name));
      button.addEventListener("click", () => {
        if (!this.hidden.delete(s.name)) this.hidden.add(s.name);
        this.draw(this.spec);
        [...this.legend.children][entries.indexOf(s)].focus({ preventScroll: true });
      });
      return button;
    }));
  }

  // marks: { chosen, other, hover: ids, passing: set of ids or null }
  mark(marks) {
    this.marks = marks;
    if (!this.rings) return;
    this.rings.replaceChildren();
    for (const [name, r] of [["other", 11], ["chosen", 12], ["hover", 9]]) {
      for (const p of this.points.filter((q) => q.id && q.id === marks[name] && q.main)) {
        this.rings.append(shape("path", { class: `ring ${name}`, d: SHAPES.circle(r), transform: `translate(${p.x} ${p.y})` }));
      }
    }
    for (const node of this.plot.querySelectorAll("[data-id]")) {
      node.classList.toggle("dim", marks.passing !== null && marks.passing !== undefined && !marks.passing.has(node.dataset.id));
    }
  }

  nearest(event, most = 24) {
    const at = this.at(event);
    let best = null, least = most;
    for (const p of this.points) {
      const distance = Math.hypot(p.x - at.x, p.y - at.y) - (p.main ? 1 : 0);
      if (p.id && distance < least) [best, least] = [p, distance];
    }
    return best;
  }

  at(event) {
    const frame = this.host.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  }

  listen(svg) {
    let start = null;
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      start = { ...this.at(event), touch: event.pointerType === "touch" };
      if (!start.touch && this.on.brush) svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      const at = this.at(event);
      if (start && !start.touch && this.on.brush && Math.hypot(at.x - start.x, at.y - start.y) > 6) {
        this.frame(start, at);
        this.show(null);
      } else if (!start) this.show(this.nearest(event));
    });
    svg.addEventListener("pointerup", (event) => {
      const at = this.at(event), from = start;
      start = null;
      if (!from) return;
      if (!from.touch && this.on.brush && Math.hypot(at.x - from.x, at.y - from.y) > 6) {
        this.sheet.setAttribute("visibility", "hidden");
        const sorted = (a, b) => [Math.min(a, b), Math.max(a, b)], { box } = this;
        const hold = (v, low, high) => Math.min(high, Math.max(low, v));
        this.on.brush({
          x: sorted(...[from.x, at.x].map((p) => this.xs.back(hold(p, box.left, box.right)))),
          y: sorted(...[from.y, at.y].map((p) => this.ys.back(hold(p, box.top, box.bottom)))),
        });
        return;
      }
      const found = this.nearest(event, from.touch ? 30 : 24);
      if (found) this.on.choose(found.id);
    });
    svg.addEventListener("pointercancel", () => { start = null; this.sheet.setAttribute("visibility", "hidden"); });
    svg.addEventListener("pointerleave", () => this.show(null));
    svg.addEventListener("dblclick", () => this.on.clear && this.on.clear());
  }

  frame(a, b) {
    const attributes = { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y) };
    for (const [name, value] of Object.entries(attributes)) this.sheet.setAttribute(name, value);
    this.sheet.setAttribute("visibility", "visible");
  }

  show(point) {
    const id = point ? point.id : null;
    if (id !== (this.shown || null)) {
      this.shown = id;
      if (this.on.hover) this.on.hover(id);
    }
    this.tip.hidden = !point;
    if (!point) return;
    this.tip.replaceChildren(this.on.tip(id));
    const room = this.host.clientWidth - this.tip.offsetWidth - 4, left = point.x + 14;
    this.tip.style.left = `${Math.max(4, left > room ? Math.min(room, point.x - this.tip.offsetWidth - 14) : left)}px`;
    this.tip.style.top = `${Math.max(4, point.y - this.tip.offsetHeight / 2)}px`;
  }

  key(event) {
    if (event.key === "Escape" && this.on.clear) this.on.clear();
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -1e9, End: 1e9 }[event.key];
    if (!by || !this.spec) return;
    event.preventDefault();
    const order = [...new Map(this.points.filter((p) => p.main && p.id).sort((a, b) => a.x - b.x).map((p) => [p.id, p])).keys()]
      .filter((id) => !this.marks.passing || this.marks.passing.has(id));
    if (!order.length) return;
    const now = order.indexOf(this.marks.chosen);
    this.on.choose(order[Math.max(0, Math.min(order.length - 1, (now < 0 ? 0 : now + by)))]);
  }
}
