/** Where the picture stands: the camera's, a photo's, or none, with what lies over it. */
import type { Preprocess } from "../core/manifest";
import { h } from "./dom";

export class Stage {
  readonly video = h("video", { playsinline: true, muted: true, "aria-label": "Camera picture" });
  private readonly photo = h("img", { alt: "Your photo", hidden: true });
  private readonly message = h("p", { class: "stage-message" }, "No picture yet");
  private readonly crop = h("div", { class: "crop", "aria-hidden": "true", hidden: true });
  readonly element: HTMLElement;

  /** dropped: told each file that is dropped here. */
  constructor(
    { cropFraction, height, width, fit }: Preprocess,
    private readonly overlay: HTMLElement | null,
    dropped: (file: File) => void,
  ) {
    const stage = h("div", { class: "stage" }, this.message, this.video, this.photo, overlay, this.crop);
    // The picture as the network sees it, with the margin around it.
    stage.style.setProperty("--ratio", String(width / height));
    const shown = { crop: "cover", stretch: "fill", letterbox: "contain" }[fit];
    stage.style.setProperty("--fit", shown);
    stage.style.setProperty("--fraction", String(cropFraction));
    stage.addEventListener("dragover", (event) => {
      event.preventDefault();
      stage.classList.add("over");
    });
    stage.addEventListener("dragleave", () => stage.classList.remove("over"));
    stage.addEventListener("drop", (event) => {
      event.preventDefault();
      stage.classList.remove("over");
      const file = event.dataTransfer?.files[0];
      if (file !== undefined) dropped(file);
    });
    this.element = stage;
  }

  /** mirrored: as a camera that looks at who holds it. */
  showCamera(mirrored: boolean): void {
    this.overlay?.classList.toggle("mirrored", mirrored);
    this.show(null, false);
  }

  showPhoto(file: Blob): void {
    this.show(file, false);
  }

  showNone(why = "No picture yet"): void {
    this.message.textContent = why;
    this.show(null, true);
  }

  private show(photo: Blob | null, none: boolean): void {
    if (photo !== null || none) this.overlay?.classList.remove("mirrored");
    if (this.photo.src !== "") URL.revokeObjectURL(this.photo.src);
    if (photo === null) this.photo.removeAttribute("src");
    else this.photo.src = URL.createObjectURL(photo);
    this.photo.hidden = photo === null;
    this.message.hidden = !none;
    this.crop.hidden = none;
  }
}
