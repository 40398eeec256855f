/** Builds the page's elements. */

type Child = Node | string | null;
type Attributes = Readonly<Record<string, string | boolean | number | ((event: Event) => void)>>;

/** An element with attributes; functions are listeners of the event that the key names. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false) element.setAttribute(key, String(value));
  }
  element.append(...children.filter((c): c is Node | string => c !== null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(
  tag: string,
  attributes: Readonly<Record<string, string | number>>,
  ...children: Node[]
): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** Milliseconds for people; a dash of what isn't known yet. */
export function milliseconds(value: number): string {
  if (!Number.isFinite(value)) return "–";
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** A labelled figure. */
export class Figure {
  private readonly value = h("dd", {}, "–");
  readonly element: HTMLElement;

  constructor(label: string, unit = "") {
    this.element = h("div", { class: "figure" }, h("dt", {}, label), this.value);
    if (unit !== "") this.element.append(h("span", { class: "unit", "aria-hidden": "true" }, unit));
  }

  set(text: string): void {
    if (this.value.textContent !== text) this.value.textContent = text;
  }
}
