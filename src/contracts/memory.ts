/** Memory for keys, and what goes when there is no more. Provided by the plugin `eviction`. */
import { service } from "../service.ts";

export interface KeyMemory {
  /**
   * Makes room for what is about to be stored and is no command's: slots that are on their way here. Evicts as a command that brings so much would,
   * for as long at most, and of keys that are shown alone.
   *
   * @param bytes How much is about to come.
   * @returns Why there is none, in words: memory is over its limit, and nothing may go. `undefined`: there is some, or will be in a moment.
   */
  makeRoom(bytes: number): string | undefined;
}

export const memoryService = service<KeyMemory>("memory");
