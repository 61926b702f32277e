// Take one picture from the camera, if there is one and the browser allows it.

import { $, attempt } from "./elements.js";

export function cameraInto(take) {
  let stream = null;
  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    $("viewfinder").hidden = true;
  };
  if (!navigator.mediaDevices?.getUserMedia) {
    // Browsers allow the camera only for https and for this machine; a phone's file chooser offers its own camera.
    $("camera").hidden = true;
    return;
  }
  $("camera").addEventListener("click", () => attempt(async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch {
      throw new Error("No camera is available or allowed. Choose a file instead.");
    }
    $("video").srcObject = stream;
    await $("video").play();
    $("viewfinder").hidden = false;
  }));
  $("stop").addEventListener("click", stop);
  $("shoot").addEventListener("click", async () => {
    const video = $("video");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    stop();
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    take([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
  });
}
