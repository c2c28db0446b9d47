/**
 * What two nodes say to each other before any frame of a link: hello, answer or refusal, proof. All on channel 0.
 *
 * Bytes of a stranger can be anything: what is read here has been checked as far as it goes into the log.
 */
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { PROOF_BYTES } from "./proof.ts";

export const HANDSHAKE_CHANNEL = 0;
/** No message of a handshake is longer: a stranger gets no more memory than this. */
export const MAX_HANDSHAKE_BYTES = 1024;
export const NONCE_BYTES = 32;
/** The versions of the protocol between nodes that this program speaks. */
export const OLDEST_VERSION = 1;
export const NEWEST_VERSION = 1;

/** Links of members carry what a cluster says within itself; meeting links carry `formation` and `meeting`. */
export type LinkKind = "member" | "meeting";

export interface Versions {
  readonly oldest: number;
  readonly newest: number;
}

/** The first message: who opens the stream, and what it would prove. */
export interface Hello {
  readonly type: "hello";
  readonly versions: Versions;
  readonly kind: LinkKind;
  readonly nodeId: string;
  readonly host: string;
  readonly port: number;
  /** Empty on meeting links. */
  readonly clusterId: string;
  readonly nonce: Uint8Array;
  /** Of the keys that it can prove to know, the one that it likes best first. */
  readonly hints: readonly Uint8Array[];
}

/** The second: who took it, with its proof. */
export interface Answer {
  readonly type: "answer";
  readonly versions: Versions;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly nonce: Uint8Array;
  /** Which of the hints it took. */
  readonly hint: number;
  /** All of the above, as it was written: what the proof is over. */
  readonly body: Uint8Array;
  readonly proof: Uint8Array;
}

/** Or that there will be no link. Nothing proves that it is true. */
export interface Refusal {
  readonly type: "refusal";
  readonly reason: RefusalReason;
  readonly versions: Versions;
  /** What `cluster` is about; else empty. */
  readonly clusterId: string;
}

/** The third: whoever opened the stream proves itself. */
export interface Proof {
  readonly type: "proof";
  readonly proof: Uint8Array;
}

export type HandshakeMessage = Hello | Answer | Refusal | Proof;

const REASONS = [
  /** No version is spoken by both. */
  "versions",
  /** No secret is known to both. */
  "secret",
  /** It is the same node on both sides, or a second one that goes by its id. */
  "self",
  /** A link of members, to a node that is in no cluster (yet). */
  "no-cluster",
  /** A link of members of another cluster. */
  "cluster",
] as const;
export type RefusalReason = (typeof REASONS)[number];

const MAGIC = "bunch link";
const TYPES = ["hello", "answer", "refusal", "proof"] as const satisfies readonly HandshakeMessage["type"][];
const KINDS = ["member", "meeting"] as const satisfies readonly LinkKind[];
const NODE_ID = /^[0-9a-f]{40}$/;
const CLUSTER_ID = /^[A-Za-z0-9._-]{0,64}$/;
const HOST = /^[A-Za-z0-9._:-]{1,253}$/;
const MAX_HINTS = 4;

/** @param answer Its `body` and `proof` are put in as they are: see `encodeAnswerBody`. */
export function encodeHandshake(
  message: Hello | Pick<Answer, "type" | "body" | "proof"> | Refusal | Proof,
): Uint8Array {
  const writer = new ByteWriter();
  writer.text(MAGIC);
  writer.byte(TYPES.indexOf(message.type));
  switch (message.type) {
    case "hello":
      writeVersions(writer, message.versions);
      writer.byte(KINDS.indexOf(message.kind));
      writer.text(message.nodeId);
      writer.text(message.host);
      writer.number(message.port);
      writer.text(message.clusterId);
      writer.bytes(message.nonce);
      writer.number(message.hints.length);
      for (const hint of message.hints) writer.bytes(hint);
      break;
    case "answer":
      writer.bytes(message.body);
      writer.bytes(message.proof);
      break;
    case "refusal":
      writeVersions(writer, message.versions);
      writer.byte(REASONS.indexOf(message.reason));
      writer.text(message.clusterId);
      break;
    case "proof":
      writer.bytes(message.proof);
      break;
    default:
      message satisfies never;
  }
  return writer.finish();
}

export function encodeAnswerBody(answer: Omit<Answer, "type" | "body" | "proof">): Uint8Array {
  const writer = new ByteWriter();
  writeVersions(writer, answer.versions);
  writer.text(answer.nodeId);
  writer.text(answer.clusterId);
  writer.bytes(answer.nonce);
  writer.byte(answer.hint);
  return writer.finish();
}

/** @returns `undefined` if it is none. Later versions may add to a message: what follows is not looked at, but proofs are over all of it. */
export function readHandshake(payload: Uint8Array): HandshakeMessage | undefined {
  const reader = new ByteReader(payload);
  if (reader.text() !== MAGIC) return undefined;
  const type = TYPES[reader.byte()];
  const message = type === undefined || reader.isBad ? undefined : readBody(reader, type);
  return reader.isBad ? undefined : message;
}

function readBody(reader: ByteReader, type: HandshakeMessage["type"]): HandshakeMessage | undefined {
  switch (type) {
    case "hello": {
      const versions = readVersions(reader);
      const kind = KINDS[reader.byte()];
      const [nodeId, host, port, clusterId] = [reader.text(), reader.text(), reader.number(), reader.text()];
      const nonce = reader.bytes();
      const hints = reader.list(() => reader.bytes());
      const isGood =
        NODE_ID.test(nodeId) &&
        HOST.test(host) &&
        port <= 65_535 &&
        CLUSTER_ID.test(clusterId) &&
        nonce.length === NONCE_BYTES &&
        hints.length <= MAX_HINTS;
      return isGood && kind !== undefined
        ? { type, versions, kind, nodeId, host, port, clusterId, nonce, hints }
        : undefined;
    }
    case "answer": {
      const [body, proof] = [reader.bytes(), reader.bytes()];
      const inner = new ByteReader(body);
      const versions = readVersions(inner);
      const [nodeId, clusterId, nonce, hint] = [inner.text(), inner.text(), inner.bytes(), inner.byte()];
      const isGood =
        !inner.isBad &&
        NODE_ID.test(nodeId) &&
        CLUSTER_ID.test(clusterId) &&
        nonce.length === NONCE_BYTES &&
        proof.length === PROOF_BYTES;
      return isGood ? { type, versions, nodeId, clusterId, nonce, hint, body, proof } : undefined;
    }
    case "refusal": {
      const versions = readVersions(reader);
      const reason = REASONS[reader.byte()];
      const clusterId = reader.text();
      return reason === undefined || !CLUSTER_ID.test(clusterId) ? undefined : { type, reason, versions, clusterId };
    }
    case "proof": {
      const proof = reader.bytes();
      return proof.length === PROOF_BYTES ? { type, proof } : undefined;
    }
    default:
      return type satisfies never;
  }
}

function writeVersions(writer: ByteWriter, { oldest, newest }: Versions): void {
  writer.number(oldest);
  writer.number(newest);
}

function readVersions(reader: ByteReader): Versions {
  return { oldest: reader.number(), newest: reader.number() };
}
