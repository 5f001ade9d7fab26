"use strict";
// Several runs in one chart: a colour a run, the same shapes as in the page of one.
(() => {
  const data = JSON.parse(el("data").textContent);
  const tones = 8, state = { chosen: null, passing: null };
  const known = new Map();
  data.runs.forEach((run, i) => run.solutions.forEach((s) => known.set(`${i}:${s.id}`, { run, s })));
  const named = (name, unit) => data.axes[name].replace("UNIT", name === "worse" && unit === "%" ? "points" : unit).replace(" []", "");
  const at = (s, name) => (s.values[name] === undefined || s.values[name] === null ? NaN : s.values[name]);
  const summary = ({ run, s }) => Object.keys(data.axes).filter((n) => Number.isFinite(at(s, n)))
    .map((n) => `${named(n, run.unit)}: ${round(at(s, n))}`);
  function tip(id) {
    const one = known.get(id), node = make("div");
    node.append(make("b", `${one.run.name}: ${one.s.name}`), ...summary(one).map((words) => make("p", words, "widths")));
    return node;
  }
  function choose(id) {
    const one = known.get(id);
    if (!one) return;
    state.chosen = id;
    el("solution-title").textContent = `${one.run.name}: ${one.s.name}${one.s.mark ? ` – ${one.s.mark}` : ""}`;
    el("said").textContent = summary(one).join(" · ");
    el("export").textContent = `bittailor export ${one.run.path} firmware --pick ${one.s.pick}`;
    el("copied").textContent = "";
    chart.mark(state);
  }
  const chart = new Chart(el("chart"), el("legend"), { choose, tip, hover: (id) => chart.mark({ ...state, hover: id }) });
  el("copy").addEventListener("click", async () => {
    el("copied").textContent = await copyText(el("export").textContent, el("export")) ? "copied" : "select it and copy it with Ctrl-C";
  });
  for (const label of new Set(data.runs.map((r) => r.metric))) el("group").append(make("option", label));
  for (const [list, start] of [["x-axis", "of8"], ["y-axis", data.runs.some((r) => r.solutions.some((s) => Number.isFinite(at(s, "test")))) ? "test" : "error"]]) {
    for (const name of Object.keys(data.axes)) {
      const option = make("option", data.axes[name].replace(" [UNIT]", ""));
      option.value = name;
      el(list).append(option);
    }
    el(list).value = start;
  }
  for (const id of ["group", "x-axis", "y-axis"]) el(id).addEventListener("change", draw);
  function draw() {
    const [x, y] = [el("x-axis").value, el("y-axis").value], series = [];
    const runs = data.runs.map((run, i) => [run, i]).filter(([run]) => run.metric === el("group").value);
    const points = (i, members) => members.map((s) => ({ id: `${i}:${s.id}`, x: at(s, x), y: at(s, y) }))
      .filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y)).sort((a, b) => a.x - b.x);
    for (const [run, i] of runs) {
      const tone = `run${i % tones}`, shapes = ["circle", "square", "triangle", "diamond", "plus"];
      const bars = y === "worse" ? run.solutions.filter((s) => s.ends && Number.isFinite(at(s, x)))
        .map((s) => ({ id: `${i}:${s.id}`, x: at(s, x), low: s.ends[0], high: s.ends[1] })) : [];
      series.push({ name: run.name, tone, shape: shapes[i % shapes.length], bars, points: points(i, run.solutions.filter((s) => s.id[0] === "s")) });
      series.push({ name: `${run.name}, homogeneous`, quiet: runs.length > 4, tone, shape: shapes[i % shapes.length], hollow: true, line: "straight", dash: "3 4", size: 4,
        points: points(i, run.solutions.filter((s) => s.id[0] === "b")) });
      for (const s of run.solutions.filter((m) => m.mark)) {
        const first = s.mark.split(" ")[0];
        series.push({ name: `${run.name}, ${s.mark}`, quiet: true, tone, shape: data.shapes[first], size: 8, points: points(i, [s]) });
      }
    }
    const unit = runs[0][0].unit, flat = (k) => series.flatMap((s) => s.points.map((p) => p[k]));
    const heights = [...flat("y"), ...series.flatMap((s) => (s.bars || []).flatMap((b) => [b.low, b.high]))];
    chart.draw({ series, rules: y === "worse" ? [{ name: "homogeneous 8 bit", y: 0, dash: "7 4", tone: "real" }] : [],
      x: { label: named(x, unit), values: flat("x") }, y: { label: named(y, unit), values: heights } });
  }
  draw();
  choose([...known.keys()].find((id) => known.get(id).s.mark) || [...known.keys()][0]);
  document.documentElement.dataset.ready = "yes";
})();
