/** The line back to `mobilemod harness serve`: files of the job, and lines that must not get lost. */
import { InputError, messageOf } from "../core/errors";

const MOST_BYTES = 512 << 10;
/** Lines that may be on their way while the next image is worked on. */
const AHEAD = 32;
const PAUSES = [0.5, 1, 2, 5, 10];
const CLIENT_KEY = "mobilemod-client";

const pause = (seconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, seconds * 1000));

export class Link {
  private readonly waiting: string[] = [];
  private sending: Promise<void> | null = null;
  private readonly client = clientId();

  /** base: the job's address, with a slash at its end. trouble: told what is wrong, or null. */
  constructor(
    private readonly base: URL,
    private readonly trouble: (text: string | null) => void,
  ) {}

  /** A file of the job. Tries again while the server can't be reached. */
  async read(path: string): Promise<Uint8Array> {
    const response = await this.ask(path, { cache: "no-store" });
    return new Uint8Array(await response.arrayBuffer());
  }

  /** `resume.json`, or null where there is none. */
  async resume(): Promise<string | null> {
    const response = await this.ask(`resume.json?client=${this.client}`, { cache: "no-store" }, [404]);
    return response.ok ? response.text() : null;
  }

  write(line: string): void {
    this.waiting.push(line);
    this.sending ??= this.sendAll().finally(() => (this.sending = null));
  }

  /** Resolves when few lines are on their way; `all`: none. */
  async flush(all = false): Promise<void> {
    while (this.sending !== null && (all || this.waiting.length > AHEAD)) await this.sending;
  }

  private async sendAll(): Promise<void> {
    while (this.waiting.length > 0) {
      let bytes = 0;
      let count = 0;
      while (count < this.waiting.length && bytes < MOST_BYTES) bytes += this.waiting[count++]!.length;
      const body = this.waiting.slice(0, count).map((line) => `${line}\n`).join("");
      await this.ask(`lines?client=${this.client}`, { method: "POST", body });
      this.waiting.splice(0, count);
    }
  }

  private async ask(path: string, init: RequestInit, allowed: number[] = []): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      try {
        const response = await fetch(new URL(path, this.base), init);
        if (response.ok || allowed.includes(response.status)) {
          this.trouble(null);
          return response;
        }
        if (response.status < 500) throw new InputError(await refusal(response, path));
        this.trouble(`The computer answered with an error (HTTP ${response.status}); trying again.`);
      } catch (error) {
        if (error instanceof InputError) throw error;
        this.trouble(`The computer can't be reached (${messageOf(error)}); trying again.`);
      }
      await pause(PAUSES[Math.min(attempt, PAUSES.length - 1)]!);
    }
  }
}

async function refusal(response: Response, path: string): Promise<string> {
  const text = (await response.text()).trim();
  if (text !== "" && text.length < 300 && !text.startsWith("<")) return text;
  return `${path.split("?")[0]} was refused (HTTP ${response.status}); open the address that is shown now`;
}

/** Tells this browser from others, so that it finds its own work again. */
function clientId(): string {
  const make = (): string =>
    Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");
  try {
    const found = localStorage.getItem(CLIENT_KEY) ?? make();
    localStorage.setItem(CLIENT_KEY, found);
    return found;
  } catch {
    return make();
  }
}
