"use strict";
// Three objectives or more: parallel coordinates and every pair of them. `page` is what page.js lends.
const drawSeveral = (page) => {
  const { data, colour, escape, go, heading, axisOf, shown, byId } = page;
  const names = data.objectives;
  const parallel = document.getElementById("parallel-chart"), pairs = document.getElementById("pairs-chart");
  const of = (s, name) => s.values[name] / data.axes[name].divisor;
  // of each objective its best value and its worst, and whether the way between them is logarithmic
  const scales = new Map(names.map((name) => {
    const values = data.solutions.map((s) => of(s, name));
    const ends = [Math.min(...values), Math.max(...values)];
    return [name, { ends: data.axes[name].maximise ? ends.reverse() : ends,
      log: Math.min(...values) > 0 && axisOf(values).type === "log" }];
  }));
  const place = (s, name) => {
    const { ends, log } = scales.get(name);
    const [value, best, worst] = [of(s, name), ...ends].map((v) => (log ? Math.log(v) : v));
    return best === worst ? 0 : (value - best) / (worst - best);
  };
  const combos = names.flatMap((y, i) => names.slice(i + 1).map((x) => [x, y]));
  const groups = () => [
    ["front", data.solutions.filter((s) => s.id[0] !== "b"), colour("--accent"), "circle", "solid"],
    ["homogeneous", data.solutions.filter((s) => s.id[0] === "b"), colour("--warm"), "square", "dash"],
  ];
  const layout = () => ({
    hovermode: "closest", hoverdistance: 18, margin: { l: 10, r: 14, t: 14, b: 10 }, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12.5, color: colour("--ink") },
    hoverlabel: { align: "left", bgcolor: colour("--paper"), bordercolor: colour("--line"), font: { color: colour("--ink"), size: 12 } },
    legend: { orientation: "h", y: -0.16, yanchor: "top", x: 0 }, dragmode: false,
  });
  const options = { responsive: true, displayModeBar: false };
  const line = (members, tone, dash, width, name) => ({
    // one trace for all lines, parted by nothing
    name, type: "scatter", mode: "lines+markers", connectgaps: false, cliponaxis: false,
    x: members.flatMap(() => [...names.keys(), null]), y: members.flatMap((s) => [...names.map((n) => place(s, n)), null]),
    customdata: members.flatMap((s) => [...names.map(() => s.id), null]),
    text: members.flatMap((s) => [...names.map(() => heading(s)), null]), hovertemplate: "%{text}<extra></extra>",
    line: { color: tone, width, dash }, marker: { color: tone, size: width > 2 ? 9 : 5 }, opacity: width > 2 ? 1 : 0.75,
  });
  const wrap = (text) => escape(text).replace(/(.{18,}?)[ ]/g, "$1<br>");

  let axes = [];
  function draw() {
    const chosen = colour("--ink"), narrow = window.innerWidth < 700;
    parallel.style.height = "340px";
    const annotations = names.flatMap((name, i) => scales.get(name).ends.map((value, top) => ({
      x: i, y: top, text: escape(shown(name, value * data.axes[name].divisor)), showarrow: false,
      yshift: top ? 14 : -14, font: { size: 12 },
    })));
    Plotly.react(parallel, [
      ...groups().map(([name, members, tone, , dash]) => line(members, tone, dash, 1.3, name)),
      line([], chosen, "solid", 3.2, "chosen"),
    ], {
      ...layout(), annotations,
      xaxis: { tickvals: [...names.keys()], ticktext: names.map((n) => wrap(data.axes[n].title) + (scales.get(n).log ? "<br>(log)" : "")), range: [-0.35, names.length - 0.65],
        showgrid: true, gridcolor: colour("--line"), zeroline: false, automargin: true, ticklabelstandoff: 16, fixedrange: true },
      yaxis: { visible: false, range: [-0.12, 1.12], fixedrange: true },
      legend: { orientation: "h", y: 1.22, yanchor: "top", x: 0 },
    }, options);

    const columns = narrow ? 1 : Math.min(3, combos.length), rows = Math.ceil(combos.length / columns);
    pairs.style.height = `${300 * rows + 60}px`;
    const traces = [], sides = {};
    axes = combos.map(([x, y]) => [x, y].map((name) => axisOf(data.solutions.map((s) => of(s, name)))));
    combos.forEach(([x, y], i) => {
      const [xs, ys] = axes[i], suffix = i ? String(i + 1) : "";
      const points = (members) => ({
        type: "scatter", mode: "markers", xaxis: `x${suffix}`, yaxis: `y${suffix}`, cliponaxis: false,
        x: members.map((s) => xs.place(of(s, x))), y: members.map((s) => ys.place(of(s, y))),
        customdata: members.map((s) => s.id), text: members.map(heading), hovertemplate: "%{text}<extra></extra>",
      });
      for (const [name, members, tone, symbol] of groups()) {
        traces.push({ ...points(members), name, legendgroup: name, showlegend: i === 0, marker: { color: tone, symbol, size: 8 } });
      }
      traces.push({ ...points([]), name: "chosen", hoverinfo: "skip", hovertemplate: undefined, showlegend: false,
        marker: { symbol: "circle-open", size: 19, color: chosen, line: { color: chosen, width: 2 } } });
      const common = { gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false, automargin: true, fixedrange: true };
      for (const [letter, name, side] of [["x", x, xs], ["y", y, ys]]) {
        sides[`${letter}axis${suffix}`] = { ...common, type: side.type, title: { text: wrap(data.axes[name].label), standoff: 6, font: { size: 12 } }, ...side.extra };
      }
    });
    Plotly.react(pairs, traces, { ...layout(), ...sides,
      grid: { rows, columns, pattern: "independent", xgap: 0.22, ygap: 0.3 },
      legend: { orientation: "h", y: 1.12, yanchor: "top", x: 0 } }, options);
  }
  function mark(id) {
    const s = byId.get(id);
    if (!s || !parallel.data) return;
    Plotly.restyle(parallel, { x: [[...names.keys()]], y: [names.map((n) => place(s, n))], text: [names.map(() => heading(s))],
      customdata: [names.map(() => id)] }, [parallel.data.length - 1]);
    const rings = combos.map((_, i) => 3 * i + 2);
    Plotly.restyle(pairs, { x: combos.map(([x], i) => [axes[i][0].place(of(s, x))]),
      y: combos.map(([, y], i) => [axes[i][1].place(of(s, y))]) }, rings);
  }
  function listen() {
    for (const chart of [parallel, pairs]) {
      chart.on("plotly_click", (event) => {
        const id = event.points.map((p) => p.customdata).find((c) => c);
        if (id) go(id, false);
      });
    }
  }
  return parallel && pairs ? { draw, mark, listen } : { draw() {}, mark() {}, listen() {} };
};
