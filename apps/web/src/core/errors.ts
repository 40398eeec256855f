/** What is wrong with an input, in one line for people. */
export class InputError extends Error {
  override readonly name = "InputError";
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** This device has nothing that a configuration could run on. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}
