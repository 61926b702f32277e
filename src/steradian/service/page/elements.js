// Build elements from text, never from markup, so that names cannot inject markup.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

export function bar(share, mark = null) {
  const percent = (value) => `${(Math.min(Math.max(value, 0), 1) * 100).toFixed(1)}%`;
  const fill = element("i");
  fill.style.width = percent(share);
  const made = element("span", { className: "bar" }, fill);
  if (mark !== null) {
    const line = element("u", { title: "threshold" });
    line.style.left = percent(mark);
    made.append(line);
  }
  return made;
}

// Browsers cannot show every picture that the service reads: then show what kind it is.
export function preview(file) {
  const image = element("img", { src: URL.createObjectURL(file), alt: file.name });
  image.addEventListener("error", () => {
    const kind = file.name.includes(".") ? file.name.split(".").at(-1).slice(0, 5).toUpperCase() : "file";
    image.replaceWith(element("span", { className: "no-preview", textContent: kind, title: file.name }));
  });
  return image;
}

let undoing = null;

export function notice(message, good = false, undo = null) {
  const box = $("notice");
  $("notice-words").textContent = message;
  box.className = good ? "good" : "";
  box.hidden = !message;
  undoing = undo;
  $("undo").hidden = undo === null;
}

export async function attempt(work, button = null) {
  // What was done, and can be undone, stays until something else is done.
  if (!$("notice").classList.contains("good")) notice("");
  if (button) button.disabled = true;
  try {
    return await work();
  } catch (error) {
    notice(error.message);
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

export function startUndoing() {
  $("undo").addEventListener("click", () => {
    const work = undoing;
    if (work) attempt(async () => { await work(); notice("Undone.", true); }, $("undo"));
  });
  // A label that stands for a chooser of files answers the keys of a button.
  for (const label of document.querySelectorAll(".chooser")) {
    label.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); label.querySelector("input").click(); }
    });
  }
}

export function confirmed(question) {
  const dialog = $("confirm");
  $("confirm-words").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
