/**
 * Parameters: what can be read and changed while a node runs, by Redis' names (`CONFIG GET`, `CONFIG SET`).
 *
 * A setting says how a node starts (see `config.ts`); the plugin that owns it may offer it here as well. Only what has the same meaning as in
 * Redis goes by Redis' name.
 */
import { StartError } from "./errors.ts";

/** One parameter. */
export interface Parameter {
  /** Redis' name for it, such as `maxmemory`. */
  readonly name: string;
  /** The present value, as `CONFIG GET` shows it. */
  get(): string;
  /**
   * Changes it. Without this it can be read only.
   *
   * @param value As `CONFIG SET` got it.
   * @returns What is wrong with the value (nothing has changed then), or `undefined`.
   */
  set?(value: string): string | undefined;
  /** Where `get` does not tell the value: remembers it. @returns What sets it back. */
  keep?(): () => void;
  /** What `set` is given is told to nobody: no log keeps it. */
  readonly isSecret?: boolean;
}

/** The parameters of a node, by name. */
export class ParameterTable {
  readonly #parameters = new Map<string, Parameter>();
  readonly #owners = new Map<string, string>();

  /** @throws {StartError} If there is one of that name. */
  add(parameter: Parameter, plugin: string): void {
    if (this.#parameters.has(parameter.name)) {
      throw new StartError(`Cannot add parameter "${parameter.name}" of plugin "${plugin}": there is one of that name`);
    }
    this.#parameters.set(parameter.name, parameter);
    this.#owners.set(parameter.name, plugin);
  }

  get(name: string): Parameter | undefined {
    return this.#parameters.get(name.toLowerCase());
  }

  /** The plugin that offers a parameter. */
  ownerOf(name: string): string | undefined {
    return this.#owners.get(name);
  }

  /** In the order of their names. */
  list(): readonly Parameter[] {
    return [...this.#parameters.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }
}
