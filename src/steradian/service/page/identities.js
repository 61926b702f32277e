// List, enroll, rename, merge and remove identities and single pictures.

import { change, get, imageOf, send } from "./api.js";
import { $, attempt, confirmed, element, notice, plural } from "./elements.js";

let last = "";

function button(text, name, work) {
  const made = element("button", { textContent: text, ariaLabel: `${text} ${name}` });
  made.addEventListener("click", () => work(made));
  return made;
}

function row(person) {
  const name = element("span", { className: "name", textContent: person.name });
  const pictures = element("div", { className: "pictures", hidden: true });
  const face = person.picture === null ? element("span", { className: "face" }) : imageOf(person.picture, "");
  face.classList.add("face");
  const show = button(plural(person.images, "picture"), `of ${person.name}`, () => attempt(async () => {
    pictures.hidden = !pictures.hidden;
    show.ariaExpanded = !pictures.hidden;
    if (!pictures.children.length) await fill(pictures, person);
  }));
  show.ariaExpanded = false;
  const rename = button("Rename", person.name, () => edit(name, person.name, "New name", async (value) => {
    await change("PATCH", `v1/identities/${person.id}`, { name: value });
    notice(`${person.name} is called ${value} now.`, true, () => change("PATCH", `v1/identities/${person.id}`, { name: person.name }).then(() => list()));
    await list();
  }));
  const merge = button("Merge", person.name, () => edit(name, "", `Same as ${person.name}`, (value) => mergeInto(person, value)));
  const remove = button("Remove", person.name, (self) => attempt(async () => {
    if (!(await confirmed(`Remove ${person.name} and ${plural(person.images, "picture")}? This cannot be undone.`))) return;
    await change("DELETE", `v1/identities/${person.id}`);
    await list();
  }, self));
  return element("li", {}, face, name, element("span", { className: "row actions" }, show, rename, merge, remove), pictures);
}

async function fill(pictures, person) {
  const { enrolled } = await get(`v1/identities/${person.id}`);
  pictures.replaceChildren(...enrolled.slice(0, 60).map((image) => {
    const remove = button("Remove", `a picture of ${person.name}`, (self) => attempt(async () => {
      if (!(await confirmed(`Remove this picture of ${person.name}? This cannot be undone.`))) return;
      await change("DELETE", `v1/images/${image.id}`);
      await list();
    }, self));
    // A name keeps at least one picture: the last one goes with its name.
    remove.hidden = enrolled.length === 1;
    return element("figure", {}, imageOf(image.id, `picture of ${person.name}`), remove);
  }));
}

// Replace a name by a field for another one, until it is saved or given up.
function edit(name, value, label, save) {
  const actions = name.parentElement.querySelector(".actions");
  const input = element("input", { value, maxLength: 256, required: true, placeholder: label, ariaLabel: label, autocomplete: "off" });
  input.setAttribute("list", "names");
  const cancel = element("button", { textContent: "Cancel", type: "button" });
  cancel.addEventListener("click", () => list());
  const form = element("form", { className: "row name" }, input, element("button", { textContent: "Save", className: "main" }), cancel);
  name.replaceWith(form);
  // Another change of the same name waits until this one is saved or given up.
  actions.hidden = true;
  input.focus();
  form.addEventListener("submit", (event) => { event.preventDefault(); attempt(() => save(input.value.trim())); });
  input.addEventListener("keydown", (event) => { if (event.key === "Escape") list(); });
}

async function mergeInto(person, name) {
  const found = await get(`v1/identities?${new URLSearchParams({ containing: name, limit: 1000 })}`);
  const target = found.identities.find((one) => one.name === name && one.id !== person.id);
  if (!target) throw new Error(`No other name is ${name}: write it as it is in the list.`);
  const before = await get(`v1/identities/${person.id}`);
  await change("POST", `v1/identities/${person.id}/merge`, { into: target.id });
  notice(`The pictures of ${person.name} belong to ${name} now.`, true, async () => {
    await change("POST", "v1/images/move", { images: before.enrolled.map((image) => image.id), name: before.name, metadata: before.metadata });
    await list();
  });
  await list();
}

export async function list(more = false) {
  const query = new URLSearchParams({ containing: $("containing").value, after: more ? last : "", limit: 50 });
  const result = await get(`v1/identities?${query}`);
  if (!more) $("list").replaceChildren();
  $("list").append(...result.identities.map(row));
  $("names").replaceChildren(...result.identities.map((one) => element("option", { value: one.name })));
  if (!$("list").children.length) $("list").append(element("li", { className: "small", textContent: result.total ? "No name contains this text." : "Nobody is enrolled yet." }));
  last = result.identities.at(-1)?.name ?? last;
  $("more").hidden = result.identities.length < 50;
  $("total").textContent = `(${result.total})`;
}

export function startPeople() {
  $("more").addEventListener("click", () => attempt(() => list(true)));
  let waiting = 0;
  $("containing").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => attempt(list), 200); });
  const chosen = () => { const count = $("enroll-files").files.length; $("enroll-chosen").textContent = count ? plural(count, "picture") : "Choose pictures"; };
  $("enroll-files").addEventListener("change", chosen);
  $("enroll").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      if (!$("enroll-files").files.length) throw new Error("Choose at least one picture first.");
      const enrollment = await send("v1/identities", $("enroll-files").files, { name: $("name").value });
      $("enroll").reset();
      chosen();
      notice([`${enrollment.identity.name} is enrolled with ${plural(enrollment.identity.images, "picture")}.`, ...enrollment.hints].join(" "), true);
      await list();
    }, event.submitter);
  });
}
