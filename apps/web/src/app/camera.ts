/** The live camera. */
import { InputError } from "../core/errors";

const SIZE = { width: { ideal: 640 }, height: { ideal: 480 } };

export class Camera {
  private stream: MediaStream | null = null;
  private facing: "environment" | "user" = "environment";

  constructor(private readonly video: HTMLVideoElement) {}

  get running(): boolean {
    return this.stream !== null;
  }

  /** Whether the picture is shown as in a mirror. */
  get mirrored(): boolean {
    return this.facing === "user";
  }

  /** Starts, or starts again with the camera on the other side. */
  async start(other = false): Promise<void> {
    if (other) this.facing = this.facing === "user" ? "environment" : "user";
    this.stop();
    if (!("mediaDevices" in navigator)) {
      throw new InputError("The camera needs a page over HTTPS or from localhost. Open a photo instead.");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: this.facing, ...SIZE },
      });
    } catch (error) {
      throw new InputError(await reason(error));
    }
    this.video.srcObject = this.stream;
    this.video.classList.toggle("mirrored", this.mirrored);
    await this.video.play();
  }

  stop(): void {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }

  /** The picture of now; null while there is none. */
  async frame(): Promise<ImageBitmap | null> {
    const ready = this.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    return this.running && ready ? createImageBitmap(this.video) : null;
  }
}

async function reason(error: unknown): Promise<string> {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return NOT_ALLOWED[await permission()];
  if (name === "NotFoundError") return "There is no camera here. Open a photo instead.";
  if (name === "NotReadableError") return "Another app uses the camera. Close it and try again.";
  return `The camera can't be used: ${String(error)}`;
}

/** What can be done, by what the browser remembers of this page. */
const NOT_ALLOWED: Readonly<Record<PermissionState, string>> = {
  prompt: "The camera was not allowed. Start it again and allow it, or open a photo instead.",
  denied:
    "The camera is blocked for this page, and the browser won’t ask again. Allow it in the page’s settings, " +
    "beside its address, and start it again; or open a photo instead.",
  granted: "This device keeps its camera from the browser. Allow it in the device’s settings, or open a photo instead.",
};

async function permission(): Promise<PermissionState> {
  try {
    return (await navigator.permissions.query({ name: "camera" as PermissionName })).state;
  } catch {
    // Not every browser tells.
    return "prompt";
  }
}
