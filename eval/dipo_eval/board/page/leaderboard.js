// The leaderboard: sorting, filter, and another baseline.
const collator = new Intl.Collator("en", { numeric: true });

function setupTable(table) {
  const headers = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const more = byId("board-more");
  let limit = Number(table.dataset.shown);

  // Rows beyond the limit are not laid out: sorting 500 drawn rows would take a second.
  function showRows() {
    const suite = byId("board-suite").value;
    let count = 0;
    for (const row of body.rows) {
      const wanted = suite === "" || row.dataset.suite === suite;
      count += wanted;
      row.hidden = !wanted || count > limit;
    }
    more.hidden = count <= limit;
    more.textContent = `Show all ${number(count)} rows`;
  }
  headers.forEach((header, column) => {
    const button = header.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const numeric = header.classList.contains("num");
      const before = header.getAttribute("aria-sort");
      // The first click on a number's column puts the largest on top.
      const up = before ? before === "descending" : !numeric;
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      const keyed = [...body.rows].map((row) => [row.cells[column].dataset.v, row]);
      keyed.sort(([x], [y]) => {
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = numeric ? Number(x) - Number(y) : collator.compare(x, y);
        return up ? order : -order;
      });
      body.append(...keyed.map(([, row]) => row));
      showRows();
      byId("sorted").textContent = `Sorted by ${button.textContent}, ${up ? "ascending" : "descending"}`;
    });
  });
  byId("board-suite").addEventListener("change", showRows);
  more.addEventListener("click", () => { limit = Infinity; showRows(); });
  showRows();
}

// Why result `now` cannot be compared with result `before`; "" where it can.
function notComparable(now, before) {
  const { made, not_comparable } = comparisons;
  if (before === undefined || made[now] === made[before]) return "";
  return not_comparable[`${made[now]},${made[before]}`] ?? "made with other settings";
}

function setupBaseline() {
  const { pairs, baselines } = comparisons;
  const select = byId("baseline");
  baselines.forEach((base, i) => select.append(
    Object.assign(el("option", "", `${base.run}/${base.checkpoint}`), { value: i, selected: base.chosen })));
  // Each pair is stored in one direction.
  function pair(now, before) {
    if (pairs[`${now},${before}`]) return pairs[`${now},${before}`];
    const turned = pairs[`${before},${now}`];
    return turned && [-turned[0], -turned[2], -turned[1], turned[3]];
  }
  select.addEventListener("change", () => {
    const base = baselines[select.value];
    for (const row of byId("board").tBodies[0].rows) {
      const suite = row.dataset.suite;
      const other = Object.hasOwn(base.results, suite) ? base.results[suite] : undefined;
      const own = String(other) === row.dataset.index;
      row.classList.toggle("baseline", own);
      const found = pair(row.dataset.index, other);
      fillDifference(row.querySelector(".difference"), own, found, notComparable(row.dataset.index, other));
    }
  });
}

// Differences come in 1e-5: 3400 is +3.4 points.
function points(scaled) {
  const text = Math.abs(scaled / 1000).toFixed(1);
  return Number(text) === 0 ? text : `${scaled < 0 ? "\u2212" : "+"}${text}`;
}
function pValue(scaled) {
  const p = scaled / 1e5;
  return p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(p < 0.1 ? 3 : 2)}`;
}

function fillDifference(cell, own, found, why) {
  cell.dataset.v = found ? found[0] : "";
  const none = (text, ...more) => cell.replaceChildren(el("span", "none", text), ...more);
  if (own) return none("baseline");
  if (why) return none("not comparable", el("span", "sub reason", visible(why)));
  if (!found) return none("no common items");
  const [mean, low, high, p] = found;
  const verdict = low > 0 ? "better" : high < 0 ? "worse" : "not settled";
  const pill = el("span", `verdict ${verdict.replace(" ", "-")}`, verdict);
  const detail = `${points(low)} to ${points(high)}, ${pValue(p)}`;
  cell.replaceChildren(el("span", "main", points(mean)), " ", pill, el("span", "sub", detail));
}

if (byId("board")) {
  setupTable(byId("board"));
  setupBaseline();
}
