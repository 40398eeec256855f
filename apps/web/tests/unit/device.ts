/** What devices of tests have in common: nothing to tell of themselves, and a clock of their own. */
import type { Manifest } from "../../src/core/manifest";
import type { Values } from "../../src/core/protocol";
import type { Device, Session } from "../../src/core/runner";

export abstract class QuietDevice implements Device {
  /** Sessions that aren't closed. */
  open = 0;
  protected clock = 0;

  abstract read(path: string): Promise<Uint8Array>;
  abstract load(...given: Parameters<Device["load"]>): Promise<Session>;

  async facts(): Promise<Values> {
    return {};
  }

  begin(_: Manifest): void {
    // Nothing of the manifest is needed here.
  }

  async state(): Promise<Values> {
    return {};
  }

  now(): number {
    return this.clock;
  }

  async flush(): Promise<void> {
    // Lines are written at once.
  }
}
