// List, enroll, rename and remove identities.

import { change, get, imageOf, send } from "./api.js";
import { $, attempt, confirmed, element, notice } from "./elements.js";

let last = "";

function row(person) {
  const name = element("span", { className: "name", textContent: person.name });
  const thumbs = element("div", { className: "thumbs", hidden: true });
  const show = element("button", { textContent: `${person.images} picture(s)` });
  show.addEventListener("click", () => attempt(async () => {
    thumbs.hidden = !thumbs.hidden;
    if (!thumbs.children.length) {
      const result = await get(`/v1/identities/${person.id}`);
      thumbs.append(...result.enrolled.slice(0, 60).map((image) => imageOf(image.id, `picture of ${person.name}`)));
    }
  }));
  const rename = element("button", { textContent: "Rename", ariaLabel: `Rename ${person.name}` });
  rename.addEventListener("click", () => renaming(person, name, rename));
  const remove = element("button", { textContent: "Remove", ariaLabel: `Remove ${person.name}` });
  remove.addEventListener("click", () => attempt(async () => {
    if (!(await confirmed(`Remove ${person.name} and ${person.images} picture(s)?`))) return;
    await change("DELETE", `/v1/identities/${person.id}`);
    await list();
  }, remove));
  return element("li", {}, name, show, rename, remove, thumbs);
}

function renaming(person, name, button) {
  const input = element("input", { value: person.name, maxLength: 256, required: true, ariaLabel: "New name" });
  const form = element("form", { className: "row name" }, input, element("button", { textContent: "Save", className: "main" }));
  name.replaceWith(form);
  button.hidden = true;
  input.focus();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      await change("PATCH", `/v1/identities/${person.id}`, { name: input.value });
      await list();
    });
  });
  input.addEventListener("keydown", (event) => { if (event.key === "Escape") list(); });
}

export async function list(more = false) {
  const query = new URLSearchParams({ containing: $("containing").value, after: more ? last : "", limit: 50 });
  const result = await get(`/v1/identities?${query}`);
  if (!more) $("list").replaceChildren();
  $("list").append(...result.identities.map(row));
  if (!$("list").children.length) $("list").append(element("li", { className: "small", textContent: result.total ? "No name contains this text." : "Nobody is enrolled yet." }));
  last = result.identities.at(-1)?.name ?? last;
  $("more").hidden = result.identities.length < 50;
  $("total").textContent = `(${result.total})`;
}

export function startPeople() {
  $("more").addEventListener("click", () => attempt(() => list(true)));
  let waiting = 0;
  $("containing").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => attempt(list), 200); });
  $("enroll").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const enrollment = await send("/v1/identities", $("enroll-files").files, { name: $("name").value });
      $("enroll").reset();
      notice([`${enrollment.identity.name} is enrolled with ${enrollment.identity.images} picture(s).`, ...enrollment.hints].join(" "), true);
      await list();
    }, event.submitter);
  });
}
