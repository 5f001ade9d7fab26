"use strict";
// The page of a run: what is chosen, what is compared, what is limited, and everybody who shows it.
(() => {
  const data = JSON.parse(el("data").textContent);
  const byId = new Map(data.solutions.map((s) => [s.id, s]));
  const state = { chosen: data.start, other: data.base, hover: null };
  const shown = (name, s) => (name in s.values ? `${round(s.values[name] / data.axes[name].divisor)} ${data.axes[name].unit}`.trim() : "–");
  const mixed = data.solutions.filter((s) => s.id[0] !== "b"), base = data.solutions.filter((s) => s.id[0] === "b");

  // ---- the table of the front follows the limits, and leads to the chart
  const table = document.querySelector("#front-table table");
  const rows = new Map(table ? [...document.querySelectorAll("tr[data-id]")].map((row) => [row.dataset.id, row]) : []);
  for (const [id, row] of rows) {
    row.addEventListener("pointerenter", () => hover(id));
    row.addEventListener("pointerleave", () => hover(null));
    row.addEventListener("focusin", () => hover(id));
    row.querySelector("a").addEventListener("click", (event) => { event.preventDefault(); page.choose(id, true); });
    const button = make("button", "compare", "small");
    button.type = "button";
    button.setAttribute("aria-label", `compare ${byId.get(id).name}`);
    button.addEventListener("click", () => page.compare(id));
    const cell = make("td");
    cell.append(button);
    row.append(cell);
  }
  for (const one of document.querySelectorAll("table:has(tr[data-id])")) one.tHead.rows[0].append(make("th", ""));
  if (table) sortable(table);

  function sortable(one) {
    [...one.tHead.rows[0].cells].slice(0, -1).forEach((head, column) => {
      const button = make("button", head.textContent, "sort");
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of one.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const of = (row) => { const text = row.cells[column].textContent, v = parseFloat(text.replace("−", "-")); return Number.isNaN(v) ? text : v; };
        const sorted = [...one.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [of(a), of(b)];
          return (up ? 1 : -1) * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
        });
        one.tBodies[0].append(...sorted);
      });
    });
  }

  // ---- limits, and who follows them
  const limits = limited(data, () => {
    const kept = limits.passing();
    for (const [id, row] of rows) row.hidden = id[0] !== "b" && kept !== null && !kept.has(id);
    marks();
    lines();
  });
  const page = {
    called: (s) => (s.mark && !s.name.includes(s.mark) ? `${s.name}, ${s.mark}` : s.name),
    state, byId, shown, passing: limits.passing,
    choose(id, scroll) {
      if (!byId.has(id)) return;
      state.chosen = id;
      full.show();
      el("said").textContent = `${byId.get(id).name}: ${summary(byId.get(id))}`;
      for (const [key, row] of rows) row.classList.toggle("chosen", key === id);
      marks();
      try { history.replaceState(null, "", `#${id}`); } catch (error) { /* a page inside a frame may not */ }
      if (scroll) el("solution").scrollIntoView({ block: "nearest" });
    },
    compare(id) {
      if (!byId.has(id)) return;
      state.other = id;
      full.show();
      marks();
    },
  };
  const summary = (s) => ["test", "error", ...new Set([data.least, ...data.objectives.filter((n) => n !== "error")])]
    .filter((n) => n in s.values).map((n) => `${n === "error" ? "selection" : n} ${shown(n, s)}`).join(" · ");
  function tip(id) {
    const s = byId.get(id), node = make("div");
    node.append(make("b", page.called(s)), make("p", summary(s)));
    const layers = new Map();
    data.sites.forEach((site, i) => {
      if (!layers.has(site.layer)) layers.set(site.layer, []);
      layers.get(site.layer).push(`${site.name.startsWith(`${site.layer}.`) ? site.name.slice(site.layer.length + 1) : site.name} ${s.widths[i]}`);
    });
    if (data.sites.length <= 60) for (const [, members] of layers) node.append(make("p", members.join(" · "), "widths"));
    node.append(make("p", `--pick ${s.pick}`, "widths"));
    return node;
  }
  function hover(id) {
    state.hover = id;
    for (const [key, row] of rows) row.classList.toggle("hover", key === id);
    marks();
  }
  function marks() {
    const all = { ...state, passing: limits.passing() };
    chart.mark(all);
    if (parallel) parallel.mark(all);
  }

  // ---- the chart
  const on = { choose: (id) => page.choose(id), hover, tip, clear: limits.clear,
    brush: ({ x, y }) => limits.set({ [el("x-axis").value]: x, [el("y-axis").value]: y }) };
  const chart = new Chart(el("chart"), el("legend"), on);
  const costs = [...new Set([...data.objectives.filter((n) => n !== "error"), ...Object.keys(data.axes)])];
  for (const [list, names] of [[el("x-axis"), costs], [el("y-axis"), Object.keys(data.axes)]]) {
    for (const name of names) {
      const option = make("option", data.axes[name].label);
      option.value = name;
      list.append(option);
    }
    list.addEventListener("change", draw);
  }
  el("y-axis").value = "error";
  el("x-axis").value = costs.find((n) => n !== "error" && n !== "test") || data.least;

  function draw() {
    const [x, y] = [el("x-axis").value, el("y-axis").value], of = limits.of;
    const both = y === "error" && data.tested;
    const points = (members, value, note) => members.map((s) => ({ id: s.id, x: of(s, x), y: value(s), note: note ? s.short : "" }))
      .filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y)).sort((a, b) => a.x - b.x);
    const seen = (s) => of(s, y), test = (s) => of(s, "test");
    const cloud = x in data.cloud.values && y in data.cloud.values
      ? data.cloud.values[x].map((v, i) => [v, data.cloud.values[y][i]]).filter(([a, b]) => a !== null && b !== null) : [];
    const suffix = both ? ", selection" : "";
    const series = [];
    if (cloud.length) series.push({ name: "evaluated", tone: "cloudy", cloud });
    const bars = !both && y !== "test" ? [] : mixed.filter((s) => s.intervals.test && Number.isFinite(of(s, x)))
      .map((s) => ({ id: s.id, x: of(s, x), low: s.intervals.test[0], high: s.intervals.test[1] }));
    if (bars.length) series.push({ name: "95 %, paired with 8 bit", tone: "mixed", bars });
    series.push({ name: `homogeneous${suffix}`, tone: "homogeneous", shape: "square", line: "straight", points: points(base, seen, true) });
    series.push({ name: `mixed precision${suffix}`, tone: "mixed", shape: "circle", points: points(mixed, seen) });
    if (both) {
      series.push({ name: "homogeneous, test", tone: "homogeneous", shape: "square", hollow: true, line: "straight", dash: "2 3", points: points(base, test) });
      series.push({ name: "mixed precision, test", tone: "mixed", shape: "circle", hollow: true, points: points(mixed, test) });
    }
    for (const [names, id] of Object.entries(data.marks)) {
      const first = names.split(" ")[0];
      series.push({ name: names, tone: first, shape: data.shapes[first], size: 8, points: points([byId.get(id)], seen) });
      if (both) series.push({ name: names, quiet: true, tone: first, shape: data.shapes[first], size: 8, hollow: true, points: points([byId.get(id)], test) });
    }
    const rules = (y === "error" ? [["select", "float, selection", "7 4"], ["test", "float, test", "2 3"]] : y === "test" ? [["test", "float, test", "2 3"]] : [])
      .filter(([part]) => data.float[part] !== null).map(([part, name, dash]) => ({ name, y: data.float[part], dash, tone: "real" }));
    const flat = (k) => [...series.flatMap((s) => (s.points || []).map((p) => p[k]))];
    const inside = cloud.filter(([, v]) => v <= Math.max(...flat("y"), ...rules.map((r) => r.y)) * 1.15);
    if (cloud.length) series[0].cloud = inside;
    const shorter = (n) => (data.axes[n].unit ? `${n} [${data.axes[n].unit}]` : n);
    const label = both ? data.axes.error.label.replace("selection ", "") : data.axes[y].label;
    chart.draw({ series, rules,
      x: { label: data.axes[x].label, short: shorter(x), values: [...flat("x"), ...inside.map(([v]) => v)] },
      y: { label, short: shorter(y), values: [...flat("y"), ...rules.map((r) => r.y), ...inside.map(([, v]) => v)] } });
    const { total, shown: kept } = data.cloud, of_them = kept < total ? `A sample of ${kept.toLocaleString("en")} of ${total.toLocaleString("en")} evaluations` : `All ${total.toLocaleString("en")} evaluations`;
    el("sampled").textContent = !cloud.length ? "Evaluations have no such value: only the front and the baselines are drawn."
      : `${of_them}${inside.length < cloud.length ? `; ${(cloud.length - inside.length).toLocaleString("en")} of these lie above the chart` : ""}.`;
  }

  // ---- three objectives and more
  const parallel = data.objectives.length > 2 && el("parallel") ? new Parallel(el("parallel"), {
    choose: (id) => page.choose(id), hover, tip, limit: (name, ends) => limits.set({ [name]: ends }) }) : null;
  function lines() {
    if (!parallel) return;
    const first = (s) => (s.mark ? s.mark.split(" ")[0] : "mixed");
    const line = (s, tone, dash) => ({ id: s.id, tone, dash, values: Object.fromEntries(data.objectives.map((n) => [n, limits.of(s, n)])) });
    parallel.draw({ names: data.objectives, limits: limits.limits,
      axis: (n) => ({ unit: data.axes[n].unit, maximise: data.axes[n].maximise, short: n === "error" ? data.axes.error.title : n }),
      lines: [...base.map((s) => line(s, "homogeneous", "5 4")), ...mixed.map((s) => line(s, first(s)))] });
  }

  const full = inFull(data, page);
  draw();
  lines();
  page.choose(byId.has(location.hash.slice(1)) ? location.hash.slice(1) : data.start);
  window.addEventListener("hashchange", () => page.choose(location.hash.slice(1), true));
  document.documentElement.dataset.ready = "yes";
})();
