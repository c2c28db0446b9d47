/** Which snapshot it is, in all of its bytes: members whose digests are equal send the same one. */
import { createHash } from "node:crypto";
import type { Snapshot } from "../protocol/raft/types.ts";
import { ByteWriter } from "./byte-writer.ts";
import { writeConfiguration } from "./raft-codec.ts";

/** SHA-256 of index, term, members and state. */
export function snapshotDigest({ index, term, configuration, data }: Snapshot): string {
  const head = new ByteWriter(256);
  head.number(index);
  head.number(term);
  writeConfiguration(head, configuration);
  return createHash("sha256").update(head.finish()).update(data).digest("hex");
}
