// A canvas to draw symbols on: dark strokes on light or light on dark, like the images that the model was trained on.

import { $ } from "./elements.js";

const STROKE = 12;

export class Drawing {
  constructor(dark) {
    [this.paper, this.ink] = dark ? ["#000", "#fff"] : ["#fff", "#000"];
    this.canvas = $("canvas");
    this.pen = this.canvas.getContext("2d");
    this.empty = true;
    this.clear();
    this.canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => { this.last = null; });
    this.canvas.addEventListener("keydown", (event) => { if (event.key === "Delete" || event.key === "Backspace") this.clear(); });
  }

  clear() {
    this.pen.fillStyle = this.paper;
    this.pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.empty = true;
    this.last = null;
  }

  #position(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  #begin(event) {
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.#position(event);
    this.#line(this.last);
  }

  #move(event) {
    if (this.last) this.#line(this.#position(event));
  }

  #line(to) {
    Object.assign(this.pen, { strokeStyle: this.ink, lineWidth: STROKE, lineCap: "round", lineJoin: "round" });
    this.pen.beginPath();
    this.pen.moveTo(...this.last);
    this.pen.lineTo(...to);
    this.pen.stroke();
    this.last = to;
    this.empty = false;
  }

  async file() {
    const blob = await new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
    return new File([blob], "drawing.png", { type: "image/png" });
  }
}
