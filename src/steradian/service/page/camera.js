// One picture from the camera, where there is one and it may be used.

import { $, attempt } from "./elements.js";

export function cameraInto(take) {
  let stream = null;
  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    $("viewfinder").hidden = true;
  };
  if (!navigator.mediaDevices?.getUserMedia) {
    // Browsers give the camera to https and to this machine alone; a phone's file chooser has one of its own.
    $("camera").hidden = true;
    return;
  }
  $("camera").addEventListener("click", () => attempt(async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch {
      throw new Error("There is no camera that may be used. Choose a file instead.");
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
