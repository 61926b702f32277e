// Pictures or drawings in, answers out.

import { call, imageOf, send } from "./api.js";
import { cameraInto } from "./camera.js";
import { Drawing } from "./canvas.js";
import { $, attempt, bar, element, notice } from "./elements.js";

const percent = (value) => `${(value * 100).toFixed(value > 0.9995 ? 0 : 1)} %`;

function verdict(found) {
  if (found.decision === "match") return `${found.label}`;
  if (found.decision === "ambiguous") return `${found.matches[0].label} or ${found.matches[1].label}`;
  return "Unknown";
}

function words(found) {
  if (!found.matches.length) return "Nothing is enrolled yet: give it a name.";
  const limit = `threshold ${found.threshold.toFixed(2)}`;
  const sure = found.probability === null ? "" : `, ${percent(found.probability)} if same and different are as likely`;
  if (found.decision === "match") return `Cosine ${found.similarity.toFixed(2)}, above the ${limit}${sure}.`;
  if (found.decision === "ambiguous") return `Two are too much alike to tell apart (cosine ${found.similarity.toFixed(2)}, ${limit}).`;
  return `Nothing enrolled reaches the ${limit}; the nearest has a cosine of ${found.similarity.toFixed(2)}.`;
}

function matches(found) {
  return element("ul", { className: "bars" }, ...found.matches.map((match) => element("li", {},
    match.image === null ? element("span") : imageOf(match.image, `enrolled picture of ${match.label}`),
    element("span", { className: "name", textContent: match.label, title: match.label }),
    bar(match.similarity, found.threshold),
    element("span", { className: "number", textContent: match.similarity.toFixed(2) }))));
}

function classes(found, open) {
  const sure = found.candidates === null ? "" :
    found.candidates.length === 1
      ? `${percent(found.coverage)} sure that it is ${found.candidates[0]}.`
      : `${percent(found.coverage)} sure that it is one of these ${found.candidates.length}: ${found.candidates.slice(0, 8).join(", ")}${found.candidates.length > 8 ? ", …" : ""}.`;
  const strange = found.known === false ? " It is unlike all classes that the model knows." : "";
  return element("details", { open },
    element("summary", { textContent: "By the classes that the model was trained on" }),
    element("p", { className: "small conformal", textContent: sure + strange }),
    element("ul", { className: "bars plain" }, ...found.ranking.map((one) => element("li", {},
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
      notice([`${done.identity.name} is enrolled by ${done.identity.images} picture(s).`, ...done.hints].join(" "), true);
      form.remove();
      changed();
    }, button);
  });
  return form;
}

async function answer(file, far, about, changed) {
  const shown = element("img", { src: URL.createObjectURL(file), alt: file.name });
  const body = element("div");
  $("answers").prepend(element("article", { className: "answer" }, shown, body));
  while ($("answers").children.length > 20) $("answers").lastChild.remove();
  try {
    const known = !about.gallery ? null : (await send(`/v1/identify?far=${far}`, [file])).answers[0];
    const named = (await send("/v1/classify", [file])).answers[0];
    if (known) {
      body.append(
        element("p", { className: `verdict ${known.decision}`, textContent: verdict(known) }),
        element("p", { className: "small", textContent: words(known) }),
        matches(known), naming(file, changed));
    }
    // What was drawn to be enrolled is of no class: where somebody is, classes are told on demand.
    body.append(classes(named, !(about.channels === 1 && known?.matches.length)));
  } catch (error) {
    body.append(element("p", { className: "verdict failed", textContent: "No answer" }), element("p", { className: "small", textContent: error.message }));
  }
}

export function startAsking(about, changed) {
  const far = $("far");
  for (const one of about.thresholds) far.append(element("option", { value: one.far, textContent: percent(one.far), selected: one.far === about.far }));
  // Without the usual rate the strictest that there is.
  if (!about.thresholds.some((one) => one.far === about.far)) far.selectedIndex = far.options.length - 1;
  far.closest("p").hidden = !about.gallery || !about.thresholds.length;
  const ask = (files) => attempt(async () => {
    const images = [...files].filter((file) => file.type.startsWith("image/"));
    if (!images.length) throw new Error("That is no picture.");
    for (const file of images) await answer(file, far.value || about.far, about, changed);
  });
  // Gray models read what is drawn.
  if (about.channels === 1) {
    document.body.classList.add("draws");
    $("drawing").hidden = false;
    const drawing = new Drawing(about.dark);
    $("clear").addEventListener("click", () => drawing.clear());
    $("ask-drawing").addEventListener("click", (event) => attempt(async () => {
      if (drawing.empty) throw new Error("Draw something first.");
      const file = await drawing.file();
      drawing.clear();
      await answer(file, far.value || about.far, about, changed);
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
}

export const aboutNow = async () => (await call("/v1/about")).json();
