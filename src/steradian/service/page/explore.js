// Show the gallery in three dimensions: turn it, click a point to see its picture.

import { get, imageOf } from "./api.js";
import { $, element } from "./elements.js";

const NAMES = 60;

let loading = null;

function library() {
  loading ??= new Promise((resolve, reject) => {
    const script = element("script", { src: "plotly.js" });
    script.onload = resolve;
    script.onerror = () => { loading = null; reject(new Error("The drawing library cannot be loaded.")); };
    document.head.append(script);
  });
  return loading;
}

// Three great circles show where the sphere is.
function circles(color) {
  const turns = [...Array(73).keys()].map((step) => (step * 2 * Math.PI) / 72);
  const [sine, cosine, zero] = [turns.map(Math.sin), turns.map(Math.cos), turns.map(() => 0)];
  return [[cosine, sine, zero], [cosine, zero, sine], [zero, cosine, sine]].map(([x, y, z]) => (
    { type: "scatter3d", mode: "lines", x, y, z, hoverinfo: "skip", showlegend: false, line: { color, width: 2 } }));
}

// The drawing library interprets tags in texts, so escape names.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export async function explore() {
  const [map] = await Promise.all([get("v1/map"), library()]);
  const plot = $("map");
  $("picked").replaceChildren();
  if (!map.points.length) {
    $("map-words").textContent = "Nobody is enrolled yet.";
    plot.replaceChildren();
    return;
  }
  const names = [...new Set(map.points.map((point) => point.label))];
  const drawn = map.points.filter((point) => names.indexOf(point.label) < NAMES);
  $("map-words").textContent = `${drawn.length} of ${map.total} pictures projected on their three principal directions, which keeps ${(map.kept * 100).toFixed(0)} % of their squared lengths. Turn it; click a point to see its picture.`;
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink");
  const traces = names.slice(0, NAMES).map((name) => {
    const points = drawn.filter((point) => point.label === name);
    return { type: "scatter3d", mode: "markers", name: plain(name.length > 24 ? `${name.slice(0, 23)}…` : name), x: points.map((p) => p.x), y: points.map((p) => p.y), z: points.map((p) => p.z),
      customdata: points.map((p) => [p.image, p.label, plain(p.label)]), hovertemplate: "%{customdata[2]}<extra></extra>", marker: { size: 5 } };
  });
  const axis = { range: [-1, 1], showgrid: true, gridcolor: style.getPropertyValue("--line"), zeroline: false, showticklabels: false, title: { text: "" }, showbackground: false, showspikes: false, visible: false };
  await window.Plotly.react(plot, [...circles(style.getPropertyValue("--line")), ...traces], {
    margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", font: { color: ink }, showlegend: names.length > 1 && names.length <= 12,
    legend: { orientation: "h" }, scene: { camera: { eye: { x: 1, y: 1, z: 0.7 } }, xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "cube" },
  }, { displayModeBar: false, responsive: true });
  plot.removeAllListeners?.("plotly_click");
  plot.on("plotly_click", (event) => {
    if (!event.points[0].customdata) return;
    const [image, label] = event.points[0].customdata;
    $("picked").replaceChildren(imageOf(image, `picture of ${label}`), element("p", { textContent: label }));
  });
}
