"use strict";
// Served pages only: asks for the page's version and reloads when it has changed, keeping what the reader had set:
// position, sorting, filters, opened samples.

const LIVE_MS = 2000;
const CHOICES = ["baseline", "board-suite", "s-suite", "s-set", "s-other", "s-status"];
const STATE = "dipo-board";

const label = (select) => select.selectedOptions[0]?.textContent;
const samples = () => [...document.querySelectorAll("#s-list .sample")];
const sampleName = (node) => node.querySelector(".item").textContent;

function saveState() {
  const sorted = document.querySelector("#board th[aria-sort]");
  const focused = document.activeElement;
  sessionStorage.setItem(STATE, JSON.stringify({
    scroll: [scrollX, scrollY],
    table: document.querySelector("#leaderboard .scroll")?.scrollLeft,
    sort: sorted && [sorted.textContent, sorted.getAttribute("aria-sort")],
    all: byId("board-more")?.dataset.all === "1",
    choices: CHOICES.filter(byId).map((id) => [id, label(byId(id))]),
    text: byId("s-text")?.value,
    shown: samples().length,
    open: samples().filter((node) => node.open).map(sampleName),
    sections: [...document.querySelectorAll("main details:not(.sample)")].map((node) => node.open),
    focus: focused?.id,
    caret: focused?.id === "s-text" ? focused.selectionStart : null,
  }));
}

function choose(id, text) {
  const select = byId(id);
  const option = select && [...select.options].find((one) => one.textContent === text);
  if (!option || option.selected) return;
  select.value = option.value;
  select.dispatchEvent(new Event("change"));
}

function sortBy([heading, direction]) {
  const header = [...document.querySelectorAll("#board thead th")].find((one) => one.textContent === heading);
  for (let i = 0; header && i < 2 && header.getAttribute("aria-sort") !== direction; i += 1)
    header.querySelector("button").click();
}

function restoreState() {
  const state = JSON.parse(sessionStorage.getItem(STATE) ?? "null");
  sessionStorage.removeItem(STATE);
  if (!state) return;
  state.choices.forEach(([id, text]) => choose(id, text));
  if (state.sort) sortBy(state.sort);
  if (state.all) byId("board-more")?.click();
  if (state.text) Object.assign(byId("s-text"), { value: state.text }).dispatchEvent(new Event("input"));
  while (samples().length < state.shown && !byId("s-more").hidden) byId("s-more").click();
  samples().forEach((node) => { node.open = state.open.includes(sampleName(node)); });
  const sections = [...document.querySelectorAll("main details:not(.sample)")];
  if (sections.length === state.sections.length) sections.forEach((node, i) => { node.open = state.sections[i]; });
  const box = document.querySelector("#leaderboard .scroll");
  if (box) box.scrollLeft = state.table ?? 0;
  const focused = state.focus && byId(state.focus);
  if (focused) focused.focus({ preventScroll: true });
  if (focused && state.caret !== null) focused.setSelectionRange(state.caret, state.caret);
  // Bodies of opened samples are made after `toggle`: the position is known only then.
  setTimeout(() => scrollTo({ left: state.scroll[0], top: state.scroll[1], behavior: "instant" }), 0);
}

async function watch() {
  for (;;) {
    await new Promise((done) => setTimeout(done, LIVE_MS));
    try {
      const answer = await fetch("version", { cache: "no-store" });
      const version = await answer.text();
      if (!answer.ok) throw new Error(answer.statusText);
      byId("live").textContent = "";
      if (version !== document.documentElement.dataset.version) break;
    } catch {
      byId("live").textContent = "The server does not answer: this is its last state.";
    }
  }
  saveState();
  location.reload();
}

history.scrollRestoration = "manual";
byId("board-more")?.addEventListener("click", (event) => { event.target.dataset.all = "1"; });
if (byId("sample-data") && !byId("s-suite").options.length) document.addEventListener("samples-ready", restoreState);
else restoreState();
watch();
