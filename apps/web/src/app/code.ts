/** A harness' own address, without a job: the code that its computer shows leads there. */
import { h } from "./dom";

/** Whether this page comes from `mobilemod harness serve`, which has no model of its own. */
export async function isHarness(): Promise<boolean> {
  const response = await fetch("harness.json").catch(() => null);
  return response?.ok === true && (response.headers.get("Content-Type") ?? "").startsWith("application/json");
}

export function askForCode(): HTMLElement {
  const input = h("input", { id: "code", inputmode: "numeric", autocomplete: "off", required: true, pattern: "[0-9]{8}" });
  const wrong = new URLSearchParams(location.search).has("code");
  const form = h(
    "form",
    {
      class: "buttons",
      submit: (event) => {
        event.preventDefault();
        location.href = `./${input.value.trim()}`;
      },
    },
    input,
    h("button", { class: "primary" }, "Start"),
  );
  return h(
    "section",
    { class: "card code" },
    h("h2", {}, "Measuring for mobilemod"),
    wrong ? h("p", { class: "problem", role: "alert" }, "That isn’t the code that is shown now.") : null,
    h("label", { for: "code" }, "Type the eight digits that the computer shows behind this address, or scan its QR code."),
    form,
  );
}
