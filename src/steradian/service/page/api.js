// Send requests to the service, at addresses relative to the page, with the token, and turn errors into sentences.

let token = sessionStorage.getItem("token") || "";
const pictures = new Map();

function askForToken(challenge) {
  const dialog = document.getElementById("token-dialog");
  document.getElementById("token-words").textContent = challenge.includes("insufficient_scope")
    ? "Your token only allows reading. Enter one that allows changes."
    : "The gallery is protected. Enter your token.";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = document.getElementById("token").value.trim();
      document.getElementById("token").value = "";
      resolve(given);
    }, { once: true });
  });
}

export async function call(path, options = {}, tried = token) {
  const headers = { ...(options.headers || {}), ...(tried ? { Authorization: `Bearer ${tried}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The service cannot be reached. Is it still running?");
  }
  // Other refusals have nothing to do with the token, so that another one would not help.
  const challenge = answer.headers.get("WWW-Authenticate");
  if (challenge) {
    const given = await askForToken(challenge);
    if (given) return call(path, options, given);
    throw new Error(challenge.includes("insufficient_scope") ? "Your token only allows reading." : "This needs a token.");
  }
  // One that was refused does not take the place of one that works.
  if (answer.ok && tried !== token) {
    token = tried;
    sessionStorage.setItem("token", token);
  }
  if (!answer.ok) {
    const refusal = await answer.json().catch(() => ({}));
    throw new Error(refusal.detail || `The service answered ${answer.status}.`);
  }
  return answer.status === 204 ? null : answer;
}

export const get = async (path) => (await call(path)).json();

async function post(path, files, fields = {}) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  for (const file of files) body.append("file", file, file.name || "picture.png");
  return call(path, { method: "POST", body });
}

export const send = async (path, files, fields = {}) => (await post(path, files, fields)).json();

// The address of a picture of both pictures.
export const explained = async (file, number) => URL.createObjectURL(await (await post(`v1/explain?identity=${number}`, [file])).blob());

export async function change(method, path, value) {
  const body = value === undefined ? undefined : JSON.stringify(value);
  return call(path, { method, body, headers: { "Content-Type": "application/json" } });
}

// Pictures need the token in a header, which an <img> cannot send.
export function picture(number) {
  if (!pictures.has(number)) {
    if (pictures.size > 500) pictures.clear();
    pictures.set(number, call(`v1/images/${number}`).then((answer) => answer.blob()).then(URL.createObjectURL).catch(() => ""));
  }
  return pictures.get(number);
}

export function imageOf(number, description) {
  const image = document.createElement("img");
  image.alt = description;
  picture(number).then((url) => { if (url) image.src = url; else image.hidden = true; });
  return image;
}
