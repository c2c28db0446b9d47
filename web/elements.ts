/** Elements of the page: made of text alone, so that nothing that a cluster says is taken for markup; and lists that keep their elements while what they show changes. */

/** What `make` sets: attributes by name; `undefined` and `false` leave one out. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;
export type Child = Node | string | undefined;

/** Makes an element. */
export function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(attribute, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** Makes a button. */
export function button(text: string, act: () => void, attributes: Attributes = {}): HTMLButtonElement {
  const element = make("button", { type: "button", ...attributes }, text);
  element.addEventListener("click", act);
  return element;
}

/**
 * An element of the page itself.
 *
 * @throws {Error} If there is none of that kind: the page and its script are not of one build.
 */
export function find<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`The page has no ${kind.name} #${id}`);
  return element;
}

/** What stands in a field of a form. */
export function textIn(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name);
  return typeof value === "string" ? value.trim() : "";
}

/** Sets what an element says, unless it says so already: nobody who reads or selects it is disturbed. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute unless it is so already. */
export function mark(element: Element, attribute: string, value: string): void {
  if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}

/** An element of a list, and how it is brought up to date. */
export interface Row<Item> {
  readonly element: Element;
  update(item: Item): void;
}

/** A list whose elements stay the same ones, each by its key: focus and selection stay where they are. */
export class KeyedList<Item> {
  readonly #parent: Element;
  readonly #keyOf: (item: Item) => string;
  readonly #create: (item: Item) => Row<Item>;
  readonly #rows = new Map<string, Row<Item>>();

  constructor(parent: Element, keyOf: (item: Item) => string, create: (item: Item) => Row<Item>) {
    this.#parent = parent;
    this.#keyOf = keyOf;
    this.#create = create;
  }

  show(items: readonly Item[]): void {
    const wanted = new Set(items.map(this.#keyOf));
    for (const [key, { element }] of this.#rows) {
      if (wanted.has(key)) continue;
      element.remove();
      this.#rows.delete(key);
    }
    const focused = document.activeElement;
    let after: Element | null = null;
    for (const item of items) {
      const key = this.#keyOf(item);
      let row = this.#rows.get(key);
      if (row === undefined) {
        row = this.#create(item);
        this.#rows.set(key, row);
      }
      row.update(item);
      const next: Element | null = after === null ? this.#parent.firstElementChild : after.nextElementSibling;
      if (next !== row.element) this.#parent.insertBefore(row.element, next);
      after = row.element;
    }
    // Who is moved loses it.
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.#parent.contains(focused)) {
      focused.focus({ preventScroll: true });
    }
  }
}
