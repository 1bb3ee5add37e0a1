"use strict";
// Everything a model wrote reaches the page through textContent; nothing here builds HTML from text.

function el(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
const byId = (id) => document.getElementById(id);
const data = (id) => JSON.parse(byId(id).textContent);
const comparisons = byId("comparisons") && data("comparisons");
const number = (n) => n.toLocaleString("en-US");
const plural = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;

// Control and direction characters could hide or reorder text: they are shown by name.
function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]/g, (c) =>
      `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}

function setupChart(figure) {
  const points = JSON.parse(figure.querySelector(".chart-data").textContent);
  const plot = figure.querySelector(".plot");
  const svg = plot.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const tip = plot.querySelector(".tip");
  const width = svg.viewBox.baseVal.width;
  let at = -1;
  const live = el("p", "hidden");
  live.setAttribute("aria-live", "polite");
  plot.after(live);

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
    if (speak) live.textContent = tip.textContent.replace(/:/g, " ");
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
  const table = el("table");
  const head = el("tr");
  [points.label, ...points.names].forEach((name, i) => {
    const cell = el("th", i ? "num" : "", name);
    cell.scope = "col";
    head.append(cell);
  });
  table.append(el("thead"), el("tbody"));
  table.tHead.append(head);
  points.x.forEach((x, i) => {
    const row = el("tr");
    const first = el("th", "", x);
    first.scope = "row";
    row.append(first, ...points.rows[i].map((text) => el("td", "num", text)));
    table.tBodies[0].append(row);
  });
  const box = el("div", "scroll");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "Numbers, scrolls");
  box.append(table);
  return box;
}

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
      // A number's first click puts the largest on top: that is what a leaderboard is read for.
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
function whyApart(now, before) {
  const { made, apart } = comparisons;
  if (before === undefined || made[now] === made[before]) return "";
  return apart[`${made[now]},${made[before]}`] ?? "made with other settings";
}

function setupBaseline() {
  const { pairs, baselines } = comparisons;
  const select = byId("baseline");
  baselines.forEach((base, i) => {
    const option = el("option", "", `${base.run}/${base.checkpoint}`);
    option.value = i;
    option.selected = base.chosen;
    select.append(option);
  });
  // Each pair is there in one direction.
  function pair(now, before) {
    if (pairs[`${now},${before}`]) return pairs[`${now},${before}`];
    const turned = pairs[`${before},${now}`];
    return turned && [-turned[0], -turned[2], -turned[1], turned[3]];
  }
  select.addEventListener("change", () => {
    const base = baselines[select.value];
    for (const row of byId("board").tBodies[0].rows) {
      const other = base.results[row.dataset.suite];
      const own = String(other) === row.dataset.index;
      row.classList.toggle("baseline", own);
      const found = pair(row.dataset.index, other);
      fillDifference(row.querySelector(".difference"), own, found, whyApart(row.dataset.index, other));
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
  if (why && !own) {
    cell.replaceChildren(el("span", "none", "not comparable"), el("span", "sub apart", visible(why)));
    return;
  }
  if (own || !found) {
    cell.replaceChildren(el("span", "none", own ? "baseline" : "no common items"));
    return;
  }
  const [mean, low, high, p] = found;
  const verdict = low > 0 ? "better" : high < 0 ? "worse" : "not settled";
  const pill = el("span", `verdict ${verdict.replace(" ", "-")}`, verdict);
  const detail = `${points(low)} to ${points(high)}, ${pValue(p)}`;
  cell.replaceChildren(el("span", "main", points(mean)), " ", pill, el("span", "sub", detail));
}

// How much of the prompts' start is alike, where that is long: instructions and worked examples hide the question.
function sharedStart(prompts) {
  if (prompts.length < 2) return 0;
  let shared = prompts[0].length;
  for (const prompt of prompts) {
    let i = 0;
    while (i < shared && prompt[i] === prompts[0][i]) i += 1;
    shared = i;
  }
  return shared > 60 ? shared : 0;
}

function setupSamples({ strings, suites, sets }) {
  const ui = Object.fromEntries(["suite", "set", "other", "status", "text", "count", "list", "more"]
    .map((name) => [name, byId(`s-${name}`)]));
  const PAGE = 25;
  let found = [];
  const name = (set) => `${set.run}/${set.checkpoint}`;
  const option = (text, value) => Object.assign(el("option", "", text), { value });
  const rowKey = (row) => JSON.stringify([row.item, row.sample]);
  const itemName = (row, set) => suites[set.suite][row.item];
  // Only for a set that is looked at.
  function chosen(select) {
    const set = sets[select.value];
    if (set && !set.byKey) {
      set.byKey = new Map(set.rows.map((row) => [rowKey(row), row]));
      set.skip = sharedStart([...new Set(set.rows.map((row) => strings[row.prompt]))]);
    }
    return set;
  }
  const compared = () => (ui.other.value === "" || ui.other.value === ui.set.value ? null : chosen(ui.other));

  function fillSets() {
    const members = sets.map((set, i) => [set, i]).filter(([set]) => set.suite === ui.suite.value);
    const options = () => members.map(([set, i]) => option(name(set), i));
    ui.set.replaceChildren(...options());
    ui.other.replaceChildren(...options(), option("nothing", ""));
    const base = comparisons.baselines.find((b) => b.chosen);
    const before = members.find(([set]) => base && name(set) === name(base)) ?? members[0];
    const now = members.filter((member) => member !== before).at(-1) ?? before;
    ui.set.value = now[1];
    ui.other.value = now === before ? "" : before[1];
  }
  // "lost", "gained" or "" for one item between the compared checkpoint and the shown one.
  function change(item, set, other) {
    if (!other || whyApart(set.index, other.index) || set.items[item] === "-" || other.items[item] === "-") return "";
    const [now, before] = [set.items[item] === "R", other.items[item] === "R"];
    return now === before ? "" : now ? "gained" : "lost";
  }
  function matches(row, set, other) {
    const wanted = ui.status.value;
    if (wanted === "truncated" && !row.truncated) return false;
    if (wanted === "disputed" && !row.official) return false;
    if (["lost", "gained"].includes(wanted) && change(row.item, set, other) !== wanted) return false;
    if (["correct", "wrong", "undecided"].includes(wanted) && row.status !== wanted) return false;
    const text = ui.text.value.trim().toLowerCase();
    return !text || [itemName(row, set), strings[row.prompt], row.response].some((t) => t.toLowerCase().includes(text));
  }
  function update() {
    const [set, other] = [chosen(ui.set), compared()];
    found = set.rows.filter((row) => matches(row, set, other));
    let text = `${plural(found.length, "sample")} match; this page holds ${number(set.rows.length)} of the checkpoint's ${number(set.total)}.`;
    const why = other && whyApart(set.index, other.index);
    if (why) text += ` Not comparable with ${name(other)}: ${visible(why)}.`;
    else if (other) {
      const changes = Array.from(set.items, (_, item) => change(item, set, other));
      const tally = (kind) => changes.filter((c) => c === kind).length;
      text += ` Against ${name(other)}: ${plural(tally("lost"), "item")} went from right to wrong, ${number(tally("gained"))} from wrong to right.`;
    }
    if (set.disputed) text += ` Another harness scores ${plural(set.disputed, "sample")} otherwise than we do.`;
    ui.count.textContent = text;
    ui.list.replaceChildren();
    more();
  }
  function more() {
    const shown = ui.list.children.length;
    const [set, other] = [chosen(ui.set), compared()];
    ui.list.append(...found.slice(shown, shown + PAGE).map((row) => sampleNode(row, set, other)));
    const left = found.length - ui.list.children.length;
    ui.more.hidden = left <= 0;
    ui.more.textContent = `Show ${number(Math.min(PAGE, left))} more of ${number(left)}`;
  }
  function sampleNode(row, set, other) {
    const node = el("details", "sample");
    const summary = el("summary");
    summary.append(el("span", `verdict ${row.status}`, row.status));
    const kind = change(row.item, set, other);
    if (kind) summary.append(el("span", `verdict ${kind}`, kind === "lost" ? "was right" : "was wrong"));
    if (row.official) summary.append(el("span", "verdict disputed", "graders disagree"));
    summary.append(el("span", "item", visible(itemName(row, set) + (row.sample ? ` #${row.sample}` : ""))));
    summary.append(el("span", "snippet", visible(strings[row.prompt].slice(set.skip, set.skip + 300).replace(/\s+/g, " "))));
    node.append(summary);
    node.addEventListener("toggle", () => {
      if (node.open && node.children.length === 1) node.append(sampleBody(row, set, other));
    });
    return node;
  }
  function sampleBody(row, set, other) {
    const body = el("div", "body");
    body.append(el("h3", "", "Prompt"), el("pre", "prompt", visible(strings[row.prompt])));
    const sides = el("div", "sides");
    sides.append(side(row, set));
    const twin = other && other.byKey.get(rowKey(row));
    if (twin) sides.append(side(twin, other));
    body.append(sides);
    return body;
  }
  function side(row, set) {
    const box = el("div");
    box.append(el("h3", "", `Response of ${name(set)}`), el("pre", "response", visible(row.response)));
    const facts = el("dl");
    const fact = (term, text) => {
      if (text !== undefined && text !== "") facts.append(el("dt", "", term), el("dd", "", visible(text)));
    };
    fact("verdict", row.status);
    fact("reason", row.reason);
    fact("extracted", row.extracted);
    (row.official ?? []).forEach(([who, said]) => fact(visible(who), said));
    fact("expected", strings[row.gold]);
    if (row.response_tokens !== undefined)
      fact("length", plural(row.response_tokens, "token") + (row.truncated ? ", truncated" : ""));
    fact("kind", row.kind);
    fact("finished by", row.finish);
    if (row.response_cut) fact("cut", `${plural(row.response_cut, "character")} of the response left out`);
    if (row.prompt_cut) fact("cut", `${plural(row.prompt_cut, "character")} of the prompt left out`);
    box.append(facts);
    return box;
  }
  [...new Set(sets.map((set) => set.suite))].forEach((suite) => ui.suite.append(option(suite, suite)));
  byId("sample-controls").addEventListener("submit", (event) => event.preventDefault());
  ui.suite.addEventListener("change", () => { fillSets(); update(); });
  ["set", "other", "status"].forEach((part) => ui[part].addEventListener("change", update));
  ui.text.addEventListener("input", update);
  ui.more.addEventListener("click", more);
  fillSets();
  update();
}

document.querySelectorAll(".chart").forEach(setupChart);
if (byId("board")) {
  setupTable(byId("board"));
  setupBaseline();
}
if (byId("sample-data")) {
  // Megabytes of samples are read once the table is drawn.
  const start = () => { setupSamples(data("sample-data")); document.dispatchEvent(new Event("samples-ready")); };
  if (byId("sample-data").textContent.length < 1e6) start();
  else requestAnimationFrame(() => setTimeout(start, 0));
}
