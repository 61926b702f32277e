// Say whether an answer is right: add the picture to its name, or give it another one.

import { change, get, send } from "./api.js";
import { $, attempt, element, notice, plural } from "./elements.js";

// Offer the names that begin as what is typed.
async function suggest(input) {
  const query = new URLSearchParams({ containing: input.value, limit: 20 });
  const result = await get(`v1/identities?${query}`);
  $("names").replaceChildren(...result.identities.map((one) => element("option", { value: one.name })));
}

// Of several regions of a picture, `alone` sends which one it is.
export function naming(file, result, changed, alone = false) {
  const fields = alone ? { region: JSON.stringify(result.region.box) } : {};
  const place = element("div", { className: "naming" });
  const enroll = (name, button, more = {}) => attempt(async () => {
    let done;
    try {
      done = await send("v1/identities", [file], { name, ...fields, ...more });
    } catch (error) {
      if (!error.message.includes("or force it")) throw error;
      // Too poor to be known again by: only if it is wanted all the same.
      const again = element("button", { textContent: "Enroll it all the same" });
      again.addEventListener("click", () => enroll(name, again, { force: "true" }));
      place.replaceChildren(
        element("p", { className: "small", textContent: `It is too blurred, too small or covered: ${name} would hardly be known again by it.` }), again);
      return;
    }
    place.replaceChildren(element("p", { className: "small", textContent: `Added to ${done.identity.name}.` }));
    notice([`${done.identity.name} is enrolled with ${plural(done.identity.images, "picture")}.`, ...done.hints].join(" "), true, async () => {
      // The only picture of a name goes with its name.
      if (done.identity.images === done.added) await change("DELETE", `v1/identities/${done.identity.id}`);
      else for (const image of done.images) await change("DELETE", `v1/images/${image}`);
      place.replaceWith(naming(file, result, changed, alone));
      changed();
    });
    changed();
  }, button);

  const form = () => {
    const input = element("input", { placeholder: "Name", maxLength: 256, required: true, ariaLabel: "Name for this picture", autocomplete: "off" });
    input.setAttribute("list", "names");
    input.addEventListener("input", () => suggest(input).catch(() => {}));
    const button = element("button", { textContent: "Enroll it", className: "main" });
    const made = element("form", { className: "row" }, input, button);
    made.addEventListener("submit", (event) => { event.preventDefault(); enroll(input.value, button); });
    return [made, input];
  };

  const known = result.decision === "match" ? [result.label] : result.decision === "ambiguous" ? result.matches.slice(0, 2).map((one) => one.label) : [];
  if (!known.length) {
    place.append(element("p", { className: "small", textContent: `Give ${alone ? "this part of the picture" : "this picture"} a name to enroll it.` }), form()[0]);
    return place;
  }
  const buttons = known.map((label) => {
    const button = element("button", { textContent: result.decision === "match" ? `Yes, add to ${label}` : `It is ${label}` });
    button.addEventListener("click", () => enroll(label, button));
    return button;
  });
  const other = element("button", { textContent: "No, it is …" });
  other.addEventListener("click", () => {
    const [made, input] = form();
    other.replaceWith(made);
    input.focus();
  });
  place.append(element("div", { className: "row" }, ...buttons, other));
  return place;
}
