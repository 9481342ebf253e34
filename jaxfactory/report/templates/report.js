"use strict";
// Shows the values under the pointer in a tooltip; the page also works without it.
const tip = document.getElementById("tip");
const plain = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });

function show(svg, chart, event) {
  const box = svg.getBoundingClientRect();
  const place = ((event.clientX - box.left) * svg.viewBox.baseVal.width) / box.width;
  const part = (place - chart.left) / (chart.right - chart.left);
  const at = chart.from + part * (chart.to - chart.from);
  let nearest = 0;
  chart.x.forEach((x, i) => {
    if (Math.abs(x - at) < Math.abs(chart.x[nearest] - at)) nearest = i;
  });
  const there = (chart.x[nearest] - chart.from) / (chart.to - chart.from);
  const cross = svg.querySelector(".cross");
  const x = chart.left + there * (chart.right - chart.left);
  cross.setAttribute("x1", x);
  cross.setAttribute("x2", x);
  cross.removeAttribute("hidden");
  tip.replaceChildren();
  const line = (text, color) => {
    const row = document.createElement("div");
    if (color !== undefined) {
      const key = document.createElement("i");
      key.className = `key s${color}`;
      row.append(key);
    }
    row.append(text);
    tip.append(row);
  };
  line(`${plain(chart.x[nearest])} ${chart.name}`);
  for (const one of chart.series) {
    const value = one.y[nearest];
    if (value === null) continue;
    const spread = one.high && one.high[nearest] !== null
      ? ` ± ${plain(one.high[nearest] - value)}` : "";
    line(`${one.name}: ${plain(value)}${spread}${chart.unit}`, one.color);
  }
  tip.hidden = false;
  const size = tip.getBoundingClientRect();
  const left = event.clientX + 14 + size.width > innerWidth
    ? event.clientX - 14 - size.width : event.clientX + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - size.height - 4))}px`;
}

for (const svg of document.querySelectorAll("svg[data-hover]")) {
  const chart = JSON.parse(svg.dataset.hover);
  svg.addEventListener("pointermove", (event) => show(svg, chart, event));
  svg.addEventListener("pointerdown", (event) => show(svg, chart, event));
  svg.addEventListener("pointerleave", () => {
    tip.hidden = true;
    svg.querySelector(".cross").setAttribute("hidden", "");
  });
}
