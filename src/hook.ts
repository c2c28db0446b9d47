/**
 * Hooks: the places where plugins meet.
 *
 * A hook is an object, and its class is its kind: who is called, what becomes of their answers, what happens when one throws.
 * Handlers run in order first, pre, normal, post, and within one of these as they were added. There are no priorities: a plugin that must run
 * before another says `pre`, or provides a service that the other requires (providers are set up, and so add their handlers, first).
 *
 * Every node has its own set (see `hooks.ts`). Each call is synchronous but for `SeriesHook`'s. A hook without handlers costs a few
 * nanoseconds, one handler a few more: they are made for the command path.
 */
import { Fault } from "./assert.ts";
import { PluginError, StartError, messageOf } from "./errors.ts";

/** When a handler runs: before the others, among them, or after. `first` is before even those that come before: for what nobody may decide yet. */
export type HookOrder = "first" | "pre" | "normal" | "post";

/** A handler as the boot tree shows it. */
export interface HookHandler<Run> {
  readonly plugin: string;
  readonly order: HookOrder;
  readonly run: Run;
}

const RANK: Readonly<Record<HookOrder, number>> = { first: -1, pre: 0, normal: 1, post: 2 };

/** What every kind of hook has: a name, and handlers in order. */
export abstract class Hook<Run> {
  readonly name: string;
  #handlers: readonly HookHandler<Run>[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** The handlers, in the order in which they are called. */
  get handlers(): readonly HookHandler<Run>[] {
    return this.#handlers;
  }

  /**
   * Adds a handler. Plugins use `context.on`, which knows their name.
   *
   * @param plugin Who adds it: named in errors and in the boot tree.
   * @param run The handler.
   * @param order When it runs.
   * @returns A function that takes it away again; harmless when repeated. Both may happen while the hook is being called: that call still
   * goes to those that were there when it began.
   */
  add(plugin: string, run: Run, order: HookOrder = "normal"): () => void {
    const handler: HookHandler<Run> = { plugin, order, run };
    const place = this.#handlers.findIndex((other) => RANK[other.order] > RANK[order]);
    this.#handlers = this.#handlers.toSpliced(place < 0 ? this.#handlers.length : place, 0, handler);
    this.arranged(this.#handlers);
    return () => {
      this.#handlers = this.#handlers.filter((other) => other !== handler);
      this.arranged(this.#handlers);
    };
  }

  /** Told of every change of the handlers, for kinds that keep them in a form of their own. */
  protected arranged(_handlers: readonly HookHandler<Run>[]): void {}

  /**
   * What is thrown when a handler threw: faults as they are (they stop the node), and so what is said to the person who starts it (a taken port);
   * all else with the plugin and the hook named.
   */
  protected blame(handler: HookHandler<Run>, thrown: unknown): Error {
    if (thrown instanceof Fault || thrown instanceof StartError) return thrown;
    return new PluginError(
      handler.plugin,
      `Plugin "${handler.plugin}" failed in hook "${this.name}": ${messageOf(thrown)}`,
      thrown,
    );
  }
}

/** All are told. One that throws is reported, by name, and stops nobody. */
export class NotifyHook<Args> extends Hook<(args: Args) => void> {
  readonly #report: (error: Error) => void;

  /** @param report Gets what handlers throw. Faults among it must stop the node. */
  constructor(name: string, report: (error: Error) => void) {
    super(name);
    this.#report = report;
  }

  /** Whether anybody listens: lets the caller skip making what nobody would get. */
  get isHeard(): boolean {
    return this.handlers.length > 0;
  }

  notify(args: Args): void {
    for (const handler of this.handlers) {
      try {
        handler.run(args);
      } catch (thrown) {
        this.#report(this.blame(handler, thrown));
      }
    }
  }
}

/** Asked in order until one answers with something other than `undefined`. A throw goes to the caller. */
export class FirstHook<Args, Answer> extends Hook<(args: Args) => Answer | undefined> {
  // The command path asks a hook with none or one handler, nearly always: a direct call instead of a loop halves its cost.
  #only: ((args: Args) => Answer | undefined) | undefined;
  #isMany = false;

  protected override arranged(handlers: readonly HookHandler<(args: Args) => Answer | undefined>[]): void {
    this.#only = handlers.length === 1 ? handlers[0]?.run : undefined;
    this.#isMany = handlers.length > 1;
  }

  ask(args: Args): Answer | undefined {
    if (this.#isMany) return this.#askMany(args);
    if (this.#only === undefined) return undefined;
    try {
      return this.#only(args);
    } catch (thrown) {
      const [handler] = this.handlers;
      throw handler === undefined ? thrown : this.blame(handler, thrown);
    }
  }

  #askMany(args: Args): Answer | undefined {
    for (const handler of this.handlers) {
      try {
        const answer = handler.run(args);
        if (answer !== undefined) return answer;
      } catch (thrown) {
        throw this.blame(handler, thrown);
      }
    }
    return undefined;
  }
}

/** Each gets what the one before it returned; the last one's value is the result. A throw goes to the caller. */
export class WaterfallHook<Value, Rest = void> extends Hook<(value: Value, rest: Rest) => Value> {
  pass(value: Value, rest: Rest): Value {
    let current = value;
    for (const handler of this.handlers) {
      try {
        current = handler.run(current, rest);
      } catch (thrown) {
        throw this.blame(handler, thrown);
      }
    }
    return current;
  }
}

/** All are asked; their answers are a list, without the `undefined` ones. A throw goes to the caller. */
export class CollectHook<Args, Answer> extends Hook<(args: Args) => Answer | undefined> {
  collect(args: Args): Answer[] {
    const answers: Answer[] = [];
    for (const handler of this.handlers) {
      try {
        const answer = handler.run(args);
        if (answer !== undefined) answers.push(answer);
      } catch (thrown) {
        throw this.blame(handler, thrown);
      }
    }
    return answers;
  }
}

/** One after another, each awaited. `runReversed` goes from the last to the first. */
export class SeriesHook<Args> extends Hook<(args: Args) => Promise<void> | void> {
  /**
   * @param limit Wraps the wait for one handler, so that the caller can bound it and name the plugin that never finishes.
   * @throws {PluginError} At the first handler that throws; those after it are not called.
   */
  async run(
    args: Args,
    limit: (plugin: string, work: Promise<void>) => Promise<void> = (_, work) => work,
  ): Promise<void> {
    for (const handler of this.handlers) await this.#call(handler, args, limit);
  }

  /** Calls every handler, whatever the others throw. @returns What was thrown, in order. */
  async runReversed(
    args: Args,
    limit: (plugin: string, work: Promise<void>) => Promise<void> = (_, work) => work,
  ): Promise<Error[]> {
    const errors: Error[] = [];
    for (const handler of this.handlers.toReversed()) {
      try {
        await this.#call(handler, args, limit);
      } catch (thrown) {
        errors.push(this.blame(handler, thrown));
      }
    }
    return errors;
  }

  async #call(
    handler: HookHandler<(args: Args) => Promise<void> | void>,
    args: Args,
    limit: (plugin: string, work: Promise<void>) => Promise<void>,
  ): Promise<void> {
    try {
      const work = handler.run(args);
      if (work !== undefined) await limit(handler.plugin, work);
    } catch (thrown) {
      throw this.blame(handler, thrown);
    }
  }
}
