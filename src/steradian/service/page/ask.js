// Send pictures or drawings to the service and show the answers.

import { call, imageOf, send } from "./api.js";
import { cameraInto } from "./camera.js";
import { Drawing } from "./canvas.js";
import { $, attempt, bar, element, notice } from "./elements.js";

const percent = (value) => `${(value * 100).toFixed(value > 0.9995 ? 0 : 1)} %`;

function verdict(result) {
  if (result.decision === "match") return `${result.label}`;
  if (result.decision === "ambiguous") return `${result.matches[0].label} or ${result.matches[1].label}`;
  return "Unknown";
}

function explanation(result) {
  if (!result.matches.length) return "Nobody is enrolled yet. Give this picture a name to enroll it.";
  const limit = `threshold ${result.threshold.toFixed(2)}`;
  const sure = result.probability === null ? "" : `, ${percent(result.probability)} if same and different are equally likely`;
  if (result.decision === "match") return `Cosine ${result.similarity.toFixed(2)}, above the ${limit}${sure}.`;
  if (result.decision === "ambiguous") return `Two identities are too similar to tell apart (cosine ${result.similarity.toFixed(2)}, ${limit}).`;
  return `No enrolled identity reaches the ${limit}; the nearest has a cosine of ${result.similarity.toFixed(2)}.`;
}

function matches(result) {
  return element("ul", { className: "bars" }, ...result.matches.map((match) => element("li", {},
    match.image === null ? element("span") : imageOf(match.image, `enrolled picture of ${match.label}`),
    element("span", { className: "name", textContent: match.label, title: match.label }),
    bar(match.similarity, result.threshold),
    element("span", { className: "number", textContent: match.similarity.toFixed(2) }))));
}

function classes(result, open) {
  const sure = result.candidates === null ? "" :
    result.candidates.length === 1
      ? `The only candidate is ${result.candidates[0]}; such lists contain the true class in ${percent(result.coverage)} of cases.`
      : `One of these ${result.candidates.length} (such lists contain the true class in ${percent(result.coverage)} of cases): ${result.candidates.slice(0, 8).join(", ")}${result.candidates.length > 8 ? ", …" : ""}.`;
  const strange = result.known === false ? " It is unlike every class that the model was trained on." : "";
  return element("details", { open },
    element("summary", { textContent: "By the classes that the model was trained on" }),
    element("p", { className: "small conformal", textContent: sure + strange }),
    element("ul", { className: "bars plain" }, ...result.ranking.map((one) => element("li", {},
      element("span", { className: "name", textContent: one.label, title: one.label }),
      bar(one.probability),
      element("span", { className: "number", textContent: percent(one.probability) })))));
}

function naming(file, changed) {
  const name = element("input", { placeholder: "Name it", maxLength: 256, required: true, ariaLabel: "Name for this picture" });
  const button = element("button", { textContent: "Enroll it" });
  const form = element("form", { className: "row naming" }, name, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const done = await send("/v1/identities", [file], { name: name.value });
      notice([`${done.identity.name} is enrolled with ${done.identity.images} picture(s).`, ...done.hints].join(" "), true);
      form.remove();
      changed();
    }, button);
  });
  return form;
}

async function answer(file, strangers, about, changed) {
  const shown = element("img", { src: URL.createObjectURL(file), alt: file.name });
  const body = element("div");
  $("answers").prepend(element("article", { className: "answer" }, shown, body));
  while ($("answers").children.length > 20) $("answers").lastChild.remove();
  try {
    const known = !about.gallery ? null : (await send(`/v1/identify?strangers=${strangers}`, [file])).answers[0];
    const named = (await send("/v1/classify", [file])).answers[0];
    if (known) {
      body.append(
        element("p", { className: `verdict ${known.decision}`, textContent: verdict(known) }),
        element("p", { className: "small", textContent: explanation(known) }),
        matches(known), naming(file, changed));
    }
    // A drawing may be of no training class: if there are matches, the classes stay closed until they are opened.
    body.append(classes(named, !(about.channels === 1 && known?.matches.length)));
  } catch (error) {
    body.append(element("p", { className: "verdict failed", textContent: "No answer" }), element("p", { className: "small", textContent: error.message }));
  }
}

export function startAsking(about, changed) {
  const strangers = $("strangers");
  const rates = [...new Set([0.1, 0.01, 0.001, about.strangers])].sort((a, b) => b - a);
  for (const rate of rates) strangers.append(element("option", { value: rate, textContent: percent(rate), selected: rate === about.strangers }));
  strangers.closest("p").hidden = !about.gallery;
  const ask = (files) => attempt(async () => {
    const images = [...files].filter((file) => file.type.startsWith("image/"));
    if (!images.length) throw new Error("That is no picture.");
    for (const file of images) await answer(file, strangers.value, about, changed);
  });
  // Models with gray input also accept drawings.
  if (about.channels === 1) {
    document.body.classList.add("draws");
    $("drawing").hidden = false;
    const drawing = new Drawing(about.dark);
    $("clear").addEventListener("click", () => drawing.clear());
    $("ask-drawing").addEventListener("click", (event) => attempt(async () => {
      if (drawing.empty) throw new Error("Draw something first.");
      const file = await drawing.file();
      drawing.clear();
      await answer(file, strangers.value, about, changed);
    }, event.currentTarget));
  }
  $("file").addEventListener("change", (event) => { ask(event.target.files); event.target.value = ""; });
  $("drop").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); $("file").click(); } });
  const drop = $("drop");
  for (const name of ["dragover", "dragenter"]) document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    if (!$("ask").hidden) ask(event.dataTransfer.files);
    else if (!$("people").hidden) $("enroll-files").files = event.dataTransfer.files;
  });
  document.addEventListener("paste", (event) => { if (!$("ask").hidden && event.clipboardData.files.length) ask(event.clipboardData.files); });
  cameraInto(ask);
  // A picture that was chosen before the service had answered is asked about now.
  if ($("file").files.length) $("file").dispatchEvent(new Event("change"));
}

export const aboutNow = async () => (await call("/v1/about")).json();
