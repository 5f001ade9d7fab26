"use strict";
// One solution in full, beside another: values, how to use it, the drawings, the table of sites.
const inFull = (data, page) => {
  const { byId, shown } = page;
  const drawings = drawn(data);
  const lists = { chosen: el("pick"), other: el("other") };
  const groups = [["s", "front"], ["p", "beside the front"], ["b", "homogeneous"]];
  for (const list of Object.values(lists)) {
    for (const [letter, name] of groups) {
      const group = make("optgroup");
      group.label = name;
      for (const s of data.solutions.filter((x) => x.id[0] === letter)) {
        const option = make("option", `${page.called(s)}: ${shown("error", s)}, ${shown(data.least, s)}`);
        option.value = s.id;
        group.append(option);
      }
      if (group.children.length) list.append(group);
    }
  }
  const gap = (name, a, b) => {
    const axis = data.axes[name], [x, y] = [a.values[name], b.values[name]];
    if (x === undefined || y === undefined) return "–";
    const points = axis.unit === "%" ? "points" : axis.unit, by = (x - y) / axis.divisor;
    if (name !== "error" && name !== "test" && y) return `${by > 0 ? "+" : by < 0 ? "−" : ""}${round(Math.abs((100 * (x - y)) / y))} %`;
    return `${by > 0 ? "+" : by < 0 ? "−" : "±"}${round(Math.abs(by))} ${points}`.trim();
  };
  const compared = ([difference, low, high]) => {
    const points = data.axes.error.unit === "%" ? "points" : data.axes.error.unit;
    const signed = (v) => `${v > 0 ? "+" : v < 0 ? "−" : ""}${round(Math.abs(v), 2)}`;
    return `${signed(difference)} ${points} (${signed(low)} to ${signed(high)})`;
  };
  function values(a, b) {
    const body = el("values").tBodies[0];
    const rows = Object.keys(data.axes).filter((n) => n in a.values || n in b.values)
      .map((n) => [data.axes[n].title, shown(n, a), shown(n, b), gap(n, a, b)]);
    for (const [part, words] of [["confirm", "worse than 8 bit where no search looked, 95 %,"], ["test", "worse than 8 bit on test data, 95 %,"]]) {
      if (part in a.against || part in b.against) {
        const [, , , items] = a.against[part] || b.against[part];
        rows.push([`${words} of ${items.toLocaleString("en")} items`, ...[a, b].map((s) => (part in s.against && s.id !== data.base ? compared(s.against[part]) : "–")), ""]);
      }
    }
    rows.push(["stored in bytes", `${a.total} B`, `${b.total} B`, ""]);
    for (const name of Object.keys({ ...a.account, ...b.account })) rows.push([`… ${name}`, `${a.account[name] ?? 0} B`, `${b.account[name] ?? 0} B`, ""]);
    rows.push(["64-bit sums in", a.wide.join(", ") || "none", b.wide.join(", ") || "none", ""]);
    if (data.solutions.some((s) => s.beacon)) rows.push(["weights of", ...[a, b].map((s) => s.beacon || "the float network"), ""]);
    el("head-a").textContent = a.name;
    el("head-b").textContent = b.name;
    body.replaceChildren(...rows.map((cells) => {
      const row = make("tr"), head = make("th", cells[0]);
      head.scope = "row";
      row.append(head, ...cells.slice(1).map((text) => make("td", text)));
      return row;
    }));
  }
  function sites(a, b) {
    const chip = (bits) => {
      const cell = make("td"), node = make("span", bits, "bits");
      [node.style.background, node.style.color] = data.colours[bits];
      cell.append(node);
      return cell;
    };
    el("site-a").textContent = `bits, ${a.name}`;
    el("site-b").textContent = `bits, ${b.name}`;
    el("sites").tBodies[0].replaceChildren(...data.sites.map((site, i) => {
      const row = make("tr", undefined, a.widths[i] === b.widths[i] ? "" : "differs"), head = make("th", site.name);
      head.scope = "row";
      const [scale, zero] = data.formats[a.beacon || ""][i][a.widths[i]];
      row.append(head, chip(a.widths[i]), chip(b.widths[i]), make("td", site.role), make("td", site.shape), make("td", scale), make("td", zero));
      return row;
    }));
  }
  function use(a) {
    const to = el("export-to").value, out = to === "c" ? "firmware" : "exported";
    el("export").textContent = `bittailor export ${data.run} ${out} --pick ${a.pick}${to === "c" ? "" : ` --to ${to}`}`;
    el("copied").textContent = "";
  }
  el("copy").addEventListener("click", async () => {
    const done = await copyText(el("export").textContent, el("export"));
    el("copied").textContent = done ? "copied" : "select it and copy it with Ctrl-C";
  });
  el("export-to").addEventListener("change", () => use(byId.get(page.state.chosen)));
  lists.chosen.addEventListener("change", () => page.choose(lists.chosen.value));
  lists.other.addEventListener("change", () => page.compare(lists.other.value));
  const step = (by) => {
    const ids = data.solutions.map((s) => s.id).filter((id) => id[0] === "b" || !page.passing() || page.passing().has(id));
    page.choose(ids[(ids.indexOf(page.state.chosen) + by + ids.length) % ids.length]);
  };
  el("previous").addEventListener("click", () => step(-1));
  el("next").addEventListener("click", () => step(1));
  el("swap").addEventListener("click", () => {
    const { chosen, other } = page.state;
    page.compare(chosen);
    page.choose(other);
  });
  for (const radio of document.querySelectorAll("input[name=colour-by]")) radio.addEventListener("change", show);
  function show() {
    const a = byId.get(page.state.chosen), b = byId.get(page.state.other);
    lists.chosen.value = a.id;
    lists.other.value = b.id;
    el("solution-title").textContent = page.called(a);
    values(a, b);
    sites(a, b);
    use(a);
    // a homogeneous network has one number: its drawing says nothing
    drawings.show(a, b.id[0] === "b" || b.id === a.id ? null : b);
  }
  return { show };
};
