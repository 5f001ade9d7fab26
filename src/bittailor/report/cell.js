"use strict";
// Widths on the drawings: every row of a site gets its number, and a colour by width or by sensitivity.
const drawn = (data) => {
  const holder = el("drawings"), second = el("drawings-other");
  const copies = holder.cloneNode(true);
  copies.removeAttribute("id");
  for (const node of copies.querySelectorAll("[role=img]")) node.setAttribute("aria-label", `${node.getAttribute("aria-label")} (compared)`);
  const rises = data.sensitivity ? data.sensitivity.sites : null;
  // the largest that any solution found pays for the width of one site
  const most = rises ? Math.max(1e-12, ...data.solutions.filter((s) => s.id[0] !== "b")
    .flatMap((s) => s.widths.map((bits, i) => rises[i][bits] || 0))) : 1;
  // three decades below the largest rise; less is no rise
  const degree = (rise) => (rise === null ? data.rise_colours.length - 1 : rise <= most / 1000 ? 0
    : Math.min(data.rise_colours.length - 1, Math.ceil(((Math.log10(rise / most) + 3) / 3) * (data.rise_colours.length - 1))));
  const by = () => (document.querySelector("input[name=colour-by]:checked") || { value: "width" }).value;
  const tones = (site, bits) => {
    if (by() === "width" || !rises) return data.colours[bits];
    const known = rises[site];
    return bits in known ? data.rise_colours[degree(known[bits])] : null;
  };
  function paint(root, s, against) {
    for (const node of root.querySelectorAll("[data-site]")) {
      const site = Number(node.dataset.site), bits = s.widths[site], tone = tones(site, bits);
      const chip = node.querySelector(".chip"), words = node.querySelector(".bits");
      words.textContent = bits;
      chip.style.fill = tone ? tone[0] : "";
      words.style.fill = tone ? tone[1] : "";
      node.classList.toggle("differs", Boolean(against) && against.widths[site] !== bits);
      const rise = rises && rises[site][bits];
      node.querySelector("title").textContent = `${data.sites[site].name}: ${bits} bits`
        + (rise === undefined || rise === null || rise === false ? "" : `; alone at this width the loss rises by ${round(rise)}`);
    }
  }
  function legend() {
    const host = el("drawing-key");
    host.replaceChildren();
    const chip = (words, tone) => {
      const node = make("span", words, "bits");
      [node.style.background, node.style.color] = tone;
      host.append(node);
    };
    if (by() === "width" || !rises) {
      host.append(make("span", "bits"));
      for (const [bits, tone] of Object.entries(data.colours)) chip(bits, tone);
    } else {
      host.append(make("span", `what its width costs: rise of the loss where this site alone has it, all others at ${data.sensitivity.at}`));
      data.rise_colours.forEach((tone, k) => chip(k === 0 ? `≤ ${round(most / 1000, 1)}`
        : `≤ ${round(most * 10 ** (-3 + (3 * k) / (data.rise_colours.length - 1)), 1)}`, tone));
    }
  }
  const sensitive = el("by-sensitivity");
  sensitive.disabled = !rises;
  el("no-sensitivity").hidden = Boolean(rises);
  return {
    show(s, other) {
      paint(holder, s, other);
      second.hidden = !other;
      if (other) {
        if (!second.contains(copies)) second.append(copies);
        el("other-title").textContent = `${other.name} (compared)`;
        paint(copies, other, s);
      }
      legend();
    },
  };
};
