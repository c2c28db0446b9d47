/** Writes what a slot stream brings, and tells each change as an effect: so it is in this node's own log, and its replicas get it like everything else. */
import { ArgumentList } from "../codec/resp-parser.ts";
import type { Keyspace } from "../contracts/keyspace.ts";
import { partOperation, recordOperation } from "../replication/log-operations.ts";
import { DirectWriter, type PartStep, type RecordStep, type SlotWriter } from "../replication/slot-writer.ts";
import { KeyReference } from "../store/key-reference.ts";

const DEL = new TextEncoder().encode("DEL");

export class LoggedWriter implements SlotWriter {
  readonly #keyspace: Keyspace;
  readonly #direct: DirectWriter;
  readonly #tell: (slot: number, args: ArgumentList) => void;
  readonly #key = new KeyReference();

  /** @param tell Tells an effect: see `Dispatcher.tellEffect`. */
  constructor(keyspace: Keyspace, tell: (slot: number, args: ArgumentList) => void) {
    this.#keyspace = keyspace;
    this.#direct = new DirectWriter(keyspace);
    this.#tell = tell;
  }

  /** By name: members drop the same keys at the same place of the log, whatever the order of their tables. */
  drop(slot: number, limit: number): number {
    const keyspace = this.#keyspace;
    const names: Uint8Array[] = [];
    keyspace.scanSlot(slot, 0, limit, (record) => {
      const start = keyspace.keyStart(record);
      names.push(keyspace.bytes(record).slice(start, start + keyspace.keyLength(record)));
    });
    const { nowMs } = keyspace;
    // Before every expiry: none of them is told twice.
    keyspace.nowMs = 0;
    for (const name of names) {
      keyspace.refer(this.#key, name, 0, name.length);
      keyspace.remove(this.#key);
    }
    keyspace.nowMs = nowMs;
    if (names.length > 0) this.#tell(slot, ArgumentList.of([DEL, ...names]));
    return keyspace.slotSize(slot);
  }

  remove(key: KeyReference): void {
    this.#direct.remove(key);
    this.#tell(key.slot, ArgumentList.of([DEL, nameOf(key)]));
  }

  record(key: KeyReference, bytes: Uint8Array, step: RecordStep): boolean {
    if (!this.#direct.record(key, bytes, step)) return false;
    this.#tell(key.slot, recordOperation(nameOf(key), step, bytes.subarray(step.valueStart, step.valueEnd)));
    return true;
  }

  part(key: KeyReference, bytes: Uint8Array, step: PartStep): string | undefined {
    const problem = this.#direct.part(key, bytes, step);
    if (problem !== undefined) return problem;
    this.#tell(key.slot, partOperation(nameOf(key), step.place, bytes.subarray(step.valueStart, step.valueEnd)));
    return undefined;
  }
}

function nameOf({ bytes, start, end }: KeyReference): Uint8Array {
  return bytes.subarray(start, end);
}
