// Charts: cross-hair, read-out and table of numbers.
function setupChart(figure) {
  const points = JSON.parse(figure.querySelector(".chart-data").textContent);
  const plot = figure.querySelector(".plot");
  const svg = plot.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const tip = plot.querySelector(".tip");
  const width = svg.viewBox.baseVal.width;
  let at = -1;
  const spoken = el("p", "hidden", "", { "aria-live": "polite" });
  plot.after(spoken);

  function show(index, speak) {
    at = Math.max(0, Math.min(points.px.length - 1, index));
    const x = points.px[at];
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.classList.remove("off");
    tip.replaceChildren(el("b", "", `${points.label} ${points.x[at]}`));
    points.names.forEach((name, i) => {
      const line = el("div");
      line.append(el("span", `swatch ${points.colours[i]}`), `${name}: ${points.rows[at][i]}`);
      tip.append(line);
    });
    tip.hidden = false;
    const room = plot.clientWidth;
    const beside = (x / width) * room;
    const right = beside + 10 + tip.offsetWidth <= room;
    tip.style.left = `${right ? beside + 10 : Math.max(0, beside - 10 - tip.offsetWidth)}px`;
    if (speak) spoken.textContent = tip.textContent.replace(/:/g, " ");
  }
  const hide = () => { cursor.classList.add("off"); tip.hidden = true; };
  plot.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    let best = 0;
    points.px.forEach((p, i) => { if (Math.abs(p - x) < Math.abs(points.px[best] - x)) best = i; });
    show(best, false);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: points.px.length - 1 }[event.key];
    if (event.key === "Escape") hide();
    if (next === undefined) return;
    event.preventDefault();
    show(next, true);
  });

  const details = el("details");
  details.append(el("summary", "", "Numbers"));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(numbersTable(points));
  });
  figure.append(details);
}

function numbersTable(points) {
  const row = (...cells) => { const node = el("tr"); node.append(...cells); return node; };
  const heading = (scope, className, text) => el("th", className, text, { scope });
  const table = el("table");
  table.append(el("thead"), el("tbody"));
  table.tHead.append(row(...[points.label, ...points.names].map((name, i) => heading("col", i ? "num" : "", name))));
  table.tBodies[0].append(...points.x.map((x, i) =>
    row(heading("row", "", x), ...points.rows[i].map((text) => el("td", "num", text)))));
  const box = el("div", "scroll", "", { tabindex: 0, role: "region", "aria-label": "Numbers, scrolls" });
  box.append(table);
  return box;
}

document.querySelectorAll(".chart").forEach(setupChart);
