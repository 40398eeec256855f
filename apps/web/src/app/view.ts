/** A screen of the app. */
export interface View {
  readonly name: string;
  readonly element: HTMLElement;
  /** Called when another screen is shown. */
  hide(): void;
}
