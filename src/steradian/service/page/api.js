// Send requests to the service, at addresses relative to the page, with the token, and turn errors into sentences.

let token = sessionStorage.getItem("token") || "";
const pictures = new Map();

function askForToken() {
  const dialog = document.getElementById("token-dialog");
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = document.getElementById("token").value.trim();
      document.getElementById("token").value = "";
      if (given) {
        token = given;
        sessionStorage.setItem("token", token);
      }
      resolve(given);
    }, { once: true });
  });
}

export async function call(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The service cannot be reached. Is it still running?");
  }
  // Other refusals have nothing to do with the token, so that another one would not help.
  if (answer.headers.has("WWW-Authenticate")) {
    const before = token;
    if ((await askForToken()) && token !== before) return call(path, options);
  }
  if (!answer.ok) {
    const refusal = await answer.json().catch(() => ({}));
    throw new Error(refusal.detail || `The service answered ${answer.status}.`);
  }
  return answer.status === 204 ? null : answer;
}

export const get = async (path) => (await call(path)).json();

export async function send(path, files, fields = {}) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  for (const file of files) body.append("file", file, file.name || "picture.png");
  return (await call(path, { method: "POST", body })).json();
}

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
