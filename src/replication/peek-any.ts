/** Finding a key whether it has expired or not: what streams send and write is judged by no clock (the primary's DEL will come). */
import type { Handle, Keyspace } from "../contracts/keyspace.ts";
import type { KeyReference } from "../store/key-reference.ts";

/** The key's record, or 0 if there is none. Removes nothing, notes no access. */
export function peekAny(keyspace: Keyspace, key: KeyReference): Handle {
  const { nowMs } = keyspace;
  // Before every expiry.
  keyspace.nowMs = 0;
  const record = keyspace.peek(key);
  keyspace.nowMs = nowMs;
  return record;
}
