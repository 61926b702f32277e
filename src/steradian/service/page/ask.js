// Send pictures or drawings to the service and show the answers.

import { call, explained, imageOf, send } from "./api.js";
import { cameraInto } from "./camera.js";
import { Drawing } from "./canvas.js";
import { $, attempt, bar, element, notice, preview } from "./elements.js";
import { naming } from "./naming.js";
import { candidates, numbers, percent, sureness, verdict } from "./words.js";

const rows = (className, list, line) => element("ul", { className }, ...list.map((one) => element("li", {}, ...line(one))));

// Which parts of the picture and of the most similar enrolled one are alike.
function parts(file, match) {
  const place = element("div");
  const show = element("button", { textContent: "Which parts are alike?" });
  show.addEventListener("click", () => attempt(async () => {
    const url = await explained(file, match.identity);
    place.replaceChildren(
      element("img", {
        className: "parts", src: url, onload: () => URL.revokeObjectURL(url),
        alt: `this picture and an enrolled one of ${match.label}, gray where nothing is alike` }),
      element("p", { className: "small", textContent: "Left your picture, right the enrolled one. Clear parts make them similar; covering a gray part changes nothing." }));
  }, show));
  place.append(show);
  return place;
}

function details(file, result) {
  return element("details", {},
    element("summary", { textContent: "Details" }),
    element("p", { className: "small", textContent: numbers(result) }),
    rows("bars", result.matches, (match) => [
      match.image === null ? element("span") : imageOf(match.image, `enrolled picture of ${match.label}`),
      element("span", { className: "name", textContent: match.label, title: match.label }),
      bar(match.similarity, result.threshold),
      element("span", { className: "number", textContent: match.similarity.toFixed(2) })]),
    result.matches[0].identity === null ? "" : parts(file, result.matches[0]));
}

function classes(result, open) {
  return element("details", { open, className: "classes" },
    element("summary", { textContent: "By the classes that the model was trained on" }),
    element("p", { className: "small conformal", textContent: candidates(result) }),
    rows("bars plain", result.ranking, (one) => [
      element("span", { className: "name", textContent: one.label, title: one.label }),
      bar(one.probability),
      element("span", { className: "number", textContent: percent(one.probability) })]));
}

// Who of the gallery it is, one answer for each region. The classes need no token, and are shown also without one here.
async function identified(file, strangers, body) {
  try {
    return (await send(`v1/identify${strangers ? `?strangers=${strangers}` : ""}`, [file])).answers;
  } catch (error) {
    if (!error.message.includes("token")) throw error;
    body.append(element("p", { className: "small", textContent: `Who of the gallery it is, is not shown. ${error.message}` }));
    return [];
  }
}

const said = (known) => [verdict(known), " ", element("span", { className: "sure", textContent: sureness(known) })];

// Put numbered boxes on a picture, as shares of its size; a click on one calls `chosen` with its number from 0.
function mark(image, answers, chosen) {
  const frame = element("span", { className: "marked" });
  image.replaceWith(frame);
  frame.append(image);
  const draw = () => frame.append(...answers.map(({ region }, number) => {
    const box = element("button", { type: "button", textContent: number + 1, ariaLabel: `${number + 1}: ${verdict(answers[number])}` });
    box.addEventListener("click", () => chosen(number));
    const [left, top, right, bottom] = region.box;
    const share = (value, all) => `${(100 * value / all).toFixed(2)}%`;
    Object.assign(box.style, {
      left: share(left, image.naturalWidth), top: share(top, image.naturalHeight),
      width: share(right - left, image.naturalWidth), height: share(bottom - top, image.naturalHeight) });
    return box;
  }));
  if (image.complete && image.naturalWidth) draw(); else image.addEventListener("load", draw);
}

async function answer(file, strangers, about, changed) {
  $("steps").hidden = true;
  notice("");
  const body = element("div"), picture = preview(file);
  const article = element("article", { className: "answer" }, picture, body);
  $("answers").prepend(article);
  while ($("answers").children.length > 20) $("answers").lastChild.remove();
  try {
    const answers = about.gallery ? await identified(file, strangers, body) : [];
    const [known] = answers;
    // A picture that the browser cannot show has been replaced by the name of its kind.
    // A single answer needs no list: its form is shown.
    const several = answers.length > 1 ? answers : [];
    const items = several.map((one) => element("details", { className: one.decision }, element("summary", {}, ...said(one)), naming(file, one, changed, true)));
    const open = (number) => {
      if (items.length) items[number].open = true;
      (items[number] ?? body).querySelector("button, input")?.focus();
    };
    if (known?.region && picture.isConnected) mark(picture, answers, open);
    if (answers.length > 1) {
      body.append(
        element("p", { className: "small", textContent: "Click a box, or a line, to say who it is." }),
        element("ol", { className: "regions" }, ...items.map((one) => element("li", {}, one))));
    } else if (known) {
      body.append(element("p", { className: `verdict ${known.decision}` }, ...said(known)), naming(file, known, changed));
      if (known.matches.length) body.append(details(file, known));
    }
    // A model of a single class has nothing to choose from.
    if (about.classes > 1) {
      const named = (await send("v1/classify", [file])).answers[0];
      // The classes of a built-in model say nothing about the user's things, so they stay closed until they are opened.
      body.append(classes(named, !about.built_in && !known?.matches.length));
    }
  } catch (error) {
    body.append(element("p", { className: "verdict failed", textContent: "No answer." }), element("p", { className: "small", textContent: error.message }));
  }
  // On a phone the answer is below the picture that was asked about.
  article.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

export function startAsking(about, changed) {
  const strangers = $("strangers");
  const rates = [...new Set([0.1, 0.01, 0.001, about.strangers])].sort((a, b) => b - a);
  // A service that was started with a rate of pairs answers by it until another one is chosen.
  if (about.by_pairs) strangers.append(element("option", { value: "", textContent: "as the service is set", selected: true }));
  for (const rate of rates) strangers.append(element("option", { value: rate, textContent: percent(rate), selected: !about.by_pairs && rate === about.strangers }));
  $("options").hidden = !about.gallery;
  const ask = (files) => attempt(async () => {
    for (const file of [...files]) await answer(file, strangers.value, about, changed);
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
  $("file").addEventListener("change", (event) => { const files = [...event.target.files]; event.target.value = ""; ask(files); });
  const drop = $("drop");
  for (const name of ["dragover", "dragenter"]) document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    if (!$("ask").hidden) ask(event.dataTransfer.files);
    else if (!$("people").hidden) {
      $("enroll-files").files = event.dataTransfer.files;
      $("enroll-files").dispatchEvent(new Event("change"));
    }
  });
  document.addEventListener("paste", (event) => { if (!$("ask").hidden && event.clipboardData.files.length) ask(event.clipboardData.files); });
  cameraInto(ask);
  // A picture that was chosen before the service had answered is asked about now.
  if ($("file").files.length) $("file").dispatchEvent(new Event("change"));
}

export const aboutNow = async () => (await call("v1/about")).json();
