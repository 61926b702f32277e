// Build elements from text, never from markup, so that names cannot inject markup.

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

export function notice(message, good = false) {
  const box = $("notice");
  box.textContent = message;
  box.className = good ? "good" : "";
  box.hidden = !message;
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

export function confirmed(question) {
  const dialog = $("confirm");
  $("confirm-words").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
