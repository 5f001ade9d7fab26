"use strict";
// The interactive front: hover shows widths, a click, the list or a link (#s3) chooses a solution.
// Text is only ever set as text; what goes to plotly, which reads some tags, is escaped first.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = new Map(data.solutions.map((s) => [s.id, s]));
  const el = (id) => document.getElementById(id);
  const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  const round = (value) => (value === null || value === undefined ? "–" : value === 0 ? "0" : String(Number(value.toPrecision(3))));
  const shown = (name, value) => {
    const axis = data.axes[name];
    return `${round(value / axis.divisor)} ${axis.unit}`.trim();
  };
  const unit = data.axes.error.unit;
  const measured = (value) => (value === null ? "–" : `${round(value)} ${unit}`.trim());
  const figures = (s) => {
    const costs = data.costs.map((n) => `${n} ${shown(n, s.values[n])}`);
    return `selection ${measured(s.values.error)}, test ${measured(s.test)}, ${costs.join(", ")}`;
  };

  const layers = [];
  data.sites.forEach((site, i) => {
    const last = layers[layers.length - 1];
    if (last && last.name === site.layer) last.members.push(i);
    else layers.push({ name: site.layer, members: [i] });
  });

  // every site's width in a few lines
  function compact(s) {
    const lines = [];
    for (const layer of layers) {
      let line = layer.members.length > 1 ? `<b>${escape(layer.name)}</b> ` : "";
      let length = layer.members.length > 1 ? layer.name.length : 0;
      for (const i of layer.members) {
        const item = `${data.sites[i].short} ${s.widths[i]}`;
        if (length + item.length > 64) {
          lines.push(line);
          line = "   ";
          length = 0;
        }
        line += `${escape(item)} · `;
        length += item.length + 3;
      }
      lines.push(line);
    }
    return lines.map((line) => line.replace(/ · $/, "")).join("<br>");
  }
  const heading = (s) => `<b>${escape(s.name)}</b><br>selection ${escape(measured(s.values.error))} · test ${escape(measured(s.test))}`
    + `<br>${escape(data.costs.map((n) => `${n} ${shown(n, s.values[n])}`).join(" · "))}`;

  // ---- one solution, in full
  let current = null;
  function choose(id, scroll) {
    const s = byId.get(id);
    if (!s) return;
    current = id;
    el("pick").value = id;
    el("solution-title").textContent = s.name + (s.mark ? ` – ${s.mark}, no worse than homogeneous 8 bit` : "");
    el("solution-values").textContent = [figures(s), ...s.against.map((text) => `against 8 bit on ${text}`)].join("; ");
    const strip = el("strip");
    strip.replaceChildren();
    for (const layer of layers) {
      const row = make("div", undefined, "layer");
      if (layer.members.length > 1) row.append(make("b", layer.name));
      for (const i of layer.members) {
        const chip = make("span", undefined, "chip");
        chip.title = `${data.sites[i].name}: ${s.widths[i]} bits`;
        const bits = make("span", s.widths[i]);
        [bits.style.background, bits.style.color] = data.colours[s.widths[i]];
        chip.append(make("span", data.sites[i].short), bits);
        row.append(chip);
      }
      strip.append(row);
    }
    const body = el("sites").tBodies[0];
    body.replaceChildren();
    data.sites.forEach((site, i) => {
      const row = make("tr");
      const bits = make("span", s.widths[i], "bits");
      [bits.style.background, bits.style.color] = data.colours[s.widths[i]];
      const cell = make("td");
      cell.append(bits);
      row.append(make("td", site.name), make("td", site.role), make("td", site.shape), cell,
        make("td", s.scales[i]), make("td", s.zeros[i]));
      body.append(row);
    });
    const items = Object.entries(s.account).map(([name, bytes]) => `${name} ${bytes}`).join(" + ");
    el("account").textContent = `Stored: ${s.total} bytes = ${items}. Operators with 64-bit sums: `
      + `${s.wide.length ? s.wide.join(", ") : "none"}.`;
    for (const link of document.querySelectorAll("tbody th a")) {
      link.closest("tr").classList.toggle("chosen", link.getAttribute("href") === `#${id}`);
    }
    mark();
    if (scroll) el("solution").scrollIntoView({ block: "nearest" });
  }
  const go = (id, scroll) => {
    choose(id, scroll);
    try { history.replaceState(null, "", `#${id}`); } catch (error) { /* a page inside a frame may not */ }
  };

  const list = el("pick");
  for (const [letter, name] of [["s", "front"], ["p", "beside the front"], ["b", "homogeneous"]]) {
    const group = make("optgroup");
    group.label = name;
    for (const s of data.solutions.filter((x) => x.id[0] === letter)) {
      const mark = s.mark ? ` (${s.mark})` : "";
        const option = make("option", `${s.name}${mark}: ${measured(s.values.error)}, ${shown(data.costs[0], s.values[data.costs[0]])}`);
      option.value = s.id;
      group.append(option);
    }
    if (group.children.length) list.append(group);
  }
  list.addEventListener("change", () => go(list.value));
  const step = (by) => {
    const ids = data.solutions.map((s) => s.id);
    go(ids[(ids.indexOf(current) + by + ids.length) % ids.length]);
  };
  el("previous").addEventListener("click", () => step(-1));
  el("next").addEventListener("click", () => step(1));
  window.addEventListener("hashchange", () => choose(location.hash.slice(1), true));

  // ---- the chart
  const choice = el("axis");
  for (const name of data.costs) {
    const option = make("option", data.axes[name].label);
    option.value = name;
    choice.append(option);
  }
  el("axis-control").hidden = data.costs.length < 2;
  choice.addEventListener("change", () => draw());

  function axisOf(values) {
    // logarithmic where values span decades; a 0 then stands at the lower edge
    const positive = values.filter((v) => v > 0);
    const low = Math.min(...positive), high = Math.max(...positive);
    if (!positive.length || high / low <= 7) return { type: "linear", place: (v) => v, extra: {} };
    const zero = positive.length < values.length, floor = low / 2;
    let ticks = [];
    for (const digits of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 6, 8]]) {
      ticks = [];
      for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
        for (const d of digits) {
          const tick = Number(`${d}e${e}`);
          if (tick >= low * 0.95 && tick <= high * 1.05) ticks.push(tick);
        }
      }
      if (ticks.length >= 4) break;
    }
    const texts = ticks.map((t) => String(t));
    if (zero) { ticks.unshift(floor); texts.unshift("0"); }
    return { type: "log", place: (v) => (v > 0 ? v : floor), extra: { tickvals: ticks, ticktext: texts } };
  }

  const chart = el("chart");
  const several = drawSeveral({ data, escape, go, heading, axisOf, shown, byId,
    colour: (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim() });
  let places = { x: () => 0, y: () => 0 };
  function draw() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const narrow = window.innerWidth < 700;
    const axis = data.axes[choice.value];
    const mixed = data.solutions.filter((s) => s.id[0] !== "b");
    const base = data.solutions.filter((s) => s.id[0] === "b");
    const errors = data.solutions.flatMap((s) => [s.values.error, s.test]).concat([data.float.select, data.float.test])
      .filter((v) => v !== null);
    const ys = axisOf(errors);
    const xs = axisOf(data.solutions.map((s) => s.values[choice.value] / axis.divisor));
    const x = (s) => xs.place(s.values[choice.value] / axis.divisor);
    places = { x, y: (s) => ys.place(s.values.error) };
    const bySize = (a, b) => a.values[choice.value] - b.values[choice.value];
    const trace = (name, members, value, hollow, tone, symbol, line) => {
      const kept = members.filter((s) => value(s) !== null).sort(bySize);
      return {
        name, type: "scatter", mode: line ? "lines+markers" : "markers", x: kept.map(x), y: kept.map((s) => ys.place(value(s))),
        customdata: kept.map((s) => s.id), text: kept.map((s) => (narrow ? heading(s) : `${heading(s)}<br><br>${compact(s)}`)),
        hovertemplate: "%{text}<extra></extra>", cliponaxis: false, visible: kept.length ? true : "legendonly",
        line: { color: tone, width: 1.3, dash: hollow ? "dot" : "solid" },
        marker: { symbol: hollow ? `${symbol}-open` : symbol, size: hollow ? 9 : 10, color: tone, line: { color: tone, width: hollow ? 1.6 : 0 } },
      };
    };
    const traces = [
      trace("homogeneous, selection", base, (s) => s.values.error, false, colour("--warm"), "square", true),
      trace("mixed, selection", mixed, (s) => s.values.error, false, colour("--accent"), "circle", false),
    ];
    if (data.tested) {
      traces.push(trace("homogeneous, test", base, (s) => s.test, true, colour("--warm"), "square", true));
      traces.push(trace("mixed, test", mixed, (s) => s.test, true, colour("--accent"), "circle", false));
      const known = mixed.filter((s) => s.interval !== null);
      traces.push({ name: "95 %, paired with 8 bit", type: "scatter", mode: "lines", hoverinfo: "skip", cliponaxis: true,
        x: known.flatMap((s) => [x(s), x(s), null]), y: known.flatMap((s) => [...s.interval.map((v) => ys.place(v)), null]),
        line: { color: colour("--accent"), width: 1 }, opacity: 0.5 });
    }
    for (const [names, id] of Object.entries(data.marks)) {
      const s = byId.get(id), first = names.includes("smallest");
      traces.push({
        name: names, type: "scatter", mode: "markers", x: [x(s)], y: [places.y(s)], hoverinfo: "skip", cliponaxis: false,
        marker: { symbol: first ? "star" : "diamond", size: first ? 19 : 15, color: colour(first ? "--good" : "--careful"),
          line: { color: colour("--paper"), width: 1.2 } },
      });
    }
    traces.push({
      name: "chosen", type: "scatter", mode: "markers", x: [], y: [], hoverinfo: "skip", showlegend: false, cliponaxis: false,
      marker: { symbol: "circle-open", size: 24, color: colour("--ink"), line: { color: colour("--ink"), width: 2 } },
    });
    const shapes = [], annotations = [];
    for (const [part, name, dash] of [["select", "float, selection", "dash"], ["test", "float, test", "dot"]]) {
      const value = data.float[part];
      if (value === null) continue;
      const y = ys.place(value), line = { color: colour("--soft"), width: 1.4, dash };
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line, layer: "below" });
      // the shape reaches both edges; this is its entry in the legend
      traces.splice(-1, 0, { name, type: "scatter", mode: "lines", x: [null], y: [null], line, hoverinfo: "skip" });
    }
    for (const s of base) {
      annotations.push({ x: xs.type === "log" ? Math.log10(x(s)) : x(s),
        y: ys.type === "log" ? Math.log10(places.y(s)) : places.y(s), text: escape(s.short), showarrow: false,
        xshift: 10, yshift: 10, font: { size: 12, color: colour("--warm") } });
    }
    const common = { gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false, automargin: true };
    Plotly.react(chart, traces, {
      xaxis: { ...common, type: xs.type, title: { text: escape(narrow ? `${choice.value} [${axis.unit}]` : axis.label), standoff: 8 }, ...xs.extra },
      yaxis: { ...common, type: ys.type, title: { text: escape(data.metric), standoff: 8 }, ...ys.extra },
      shapes, annotations, hovermode: "closest", hoverdistance: 24, margin: { l: 10, r: 14, t: 10, b: 10 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 13, color: colour("--ink") },
      hoverlabel: { align: "left", bgcolor: colour("--paper"), bordercolor: colour("--line"), font: { color: colour("--ink"), size: 12 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent") },
      legend: { orientation: "h", y: -0.2, yanchor: "top", x: 0, font: { size: 12 } }, dragmode: narrow ? false : "zoom",
    }, { responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] });
    several.draw();
    mark();
  }
  function mark() {
    const s = byId.get(current);
    if (!s || !chart.data) return;
    Plotly.restyle(chart, { x: [[places.x(s)]], y: [[places.y(s)]] }, [chart.data.length - 1]);
    several.mark(current);
  }

  const asked = location.hash.slice(1);
  choose(byId.has(asked) ? asked : data.start);
  if (window.Plotly) {
    draw();
    chart.on("plotly_click", (event) => {
      const id = event.points.map((p) => p.customdata).find((c) => c);
      if (id) go(id, true);
    });
    several.listen();
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", draw);
    let narrow = window.innerWidth < 700;
    window.addEventListener("resize", () => {
      if (narrow !== window.innerWidth < 700) { narrow = !narrow; draw(); }
    });
  }
  document.documentElement.dataset.ready = "yes";
})();
