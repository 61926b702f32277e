// Elements are made from text, never from markup, so that a name is only a name.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

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

export function notice(words, good = false) {
  const place = $("notice");
  place.textContent = words;
  place.className = good ? "good" : "";
  place.hidden = !words;
}

export async function attempt(work, button = null) {
  notice("");
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

export function confirmed(words) {
  const dialog = $("confirm");
  $("confirm-words").textContent = words;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
