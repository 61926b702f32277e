// Switch between tabs and load the content of the opened tab.

import { aboutNow, startAsking } from "./ask.js";
import { $, attempt, element, startUndoing } from "./elements.js";
import { explore } from "./explore.js";
import { list, startPeople } from "./identities.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const opened = { people: () => list(), explore };

function open(tab) {
  for (const one of tabs) {
    const selected = one === tab;
    one.setAttribute("aria-selected", selected);
    one.tabIndex = selected ? 0 : -1;
    $(one.getAttribute("aria-controls")).hidden = !selected;
  }
  const show = opened[tab.getAttribute("aria-controls")];
  attempt(async () => show?.());
}

tabs.forEach((tab) => {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const shown = tabs.filter((one) => !one.hidden);
    const next = shown[(shown.indexOf(tab) + step + shown.length) % shown.length];
    next.focus();
    open(next);
  });
});

startUndoing();
attempt(async () => {
  const about = await aboutNow();
  for (const name of ["people", "explore"]) $(`tab-${name}`).hidden = !about.gallery;
  const facts = {
    "Model": about.model,
    "Trained on": `${about.classes} classes`,
    "Input": `${about.channels === 1 ? "gray" : "color"} images of ${about.size} pixels`,
    "Embedding": `${about.embedding_size} dimensions`,
    "steradian": about.version,
  };
  $("facts").append(...Object.entries(facts).flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", { textContent: value })]));
  startAsking(about, () => { if (!$("people").hidden) list(); });
  startPeople();
  // Until the first answer, this place shows how it works.
  $("steps").hidden = !about.gallery || $("answers").children.length > 0;
});
