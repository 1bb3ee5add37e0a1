// Samples: filters, search, and two checkpoints side by side.
// Length of the prompts' common prefix, where that is long: instructions and worked examples hide the question.
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
  // Indexed when first shown.
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
    if (!other || notComparable(set.index, other.index) || set.items[item] === "-" || other.items[item] === "-") return "";
    const [now, before] = [set.items[item] === "C", other.items[item] === "C"];
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
    const why = other && notComparable(set.index, other.index);
    if (why) text += ` Not comparable with ${name(other)}: ${visible(why)}.`;
    else if (other) {
      const changes = Array.from(set.items, (_, item) => change(item, set, other));
      const tally = (kind) => changes.filter((c) => c === kind).length;
      text += ` Against ${name(other)}: ${plural(tally("lost"), "item")} went from correct to incorrect, ${number(tally("gained"))} from incorrect to correct.`;
    }
    if (set.disputed) text += ` Another harness scores ${plural(set.disputed, "sample")} differently.`;
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
    if (kind) summary.append(el("span", `verdict ${kind}`, kind === "lost" ? "was correct" : "was incorrect"));
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
    (row.official ?? []).forEach(([who, score]) => fact(visible(who), score));
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

if (byId("sample-data")) {
  // Megabytes of samples are read once the table is drawn.
  const start = () => { setupSamples(data("sample-data")); document.dispatchEvent(new Event("samples-ready")); };
  if (byId("sample-data").textContent.length < 1e6) start();
  else requestAnimationFrame(() => setTimeout(start, 0));
}
