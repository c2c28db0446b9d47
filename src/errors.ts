/**
 * Errors that people read: each says what was wrong, what was wanted, and what to do.
 *
 * A *fault* (see `assert.ts`) is a bug; the errors here are answers that say no to a person who started or configured a node.
 */

/** A node cannot start as it was told to: a bad setting, a taken port, a plugin that is missing something. The command line prints the message alone and exits with 2. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** A node was asked, and gave no answer: nobody knows whether it did what it was asked for. */
export class Unanswered extends StartError {}

/** A setting is unknown or bad. The message names the setting, what it got, and what it wants. */
export class ConfigError extends StartError {}

/** A plugin did something wrong, or something went wrong in it. The message names it, and where. */
export class PluginError extends StartError {
  readonly plugin: string;

  constructor(plugin: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.plugin = plugin;
  }
}

/**
 * The message of whatever was thrown.
 *
 * @param thrown Anything: JavaScript can throw what it likes.
 * @returns Its message if it is an error, else its text.
 */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
