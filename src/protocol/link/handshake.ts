/**
 * How two nodes prove to each other who they are, before any frame goes from one to the other. Pure: messages in, messages and verdicts out.
 *
 * 1. *Hello*, from the node that opened the stream: versions, the kind of link, its id, its cluster's id, a fresh nonce, hints at the secrets that it knows.
 * 2. *Answer*, from the other: its own versions, id, cluster and nonce, and a proof of the secret over the hello and all of that.
 * 3. *Proof*, from the first: of the same secret, over the same bytes.
 *
 * Each proof covers both nonces: one that was recorded fits no other handshake. Each has its side's label: one side's proof sent back is none of the other's; and
 * a node takes no link that has its own id on the other side, so that it cannot be made to talk to itself. The proofs cover versions, kind, ids and cluster too: who
 * changes any of them in between is found out. No secret, and nothing that tells one from another, is on the wire.
 *
 * What comes of it is a key that only the two of them know, for one direction of one link: see `frame-seal.ts`. There is none if the secret is empty.
 *
 * A refusal names why, in an order that tells nothing to strangers: versions; then the secret; and only to one who knows it, ids and clusters.
 */
import {
  type Hello,
  type LinkKind,
  NEWEST_VERSION,
  OLDEST_VERSION,
  type Refusal,
  type RefusalReason,
  type Versions,
  encodeAnswerBody,
  encodeHandshake,
  readHandshake,
} from "../../codec/link-codec.ts";
import { isSameProof, proofOf } from "../../codec/proof.ts";
import { isSecret, keyHint } from "./secrets.ts";

/** What a node says of itself. */
export interface LinkSelf {
  readonly nodeId: string;
  readonly host: string;
  readonly port: number;
  /** `undefined`: it is in none. */
  readonly clusterId: string | undefined;
  /** Of the secrets that it knows: see `ClusterSecrets`. */
  readonly keys: readonly Uint8Array[];
}

/** The other side, after it has proved itself. */
export interface LinkPeer {
  readonly nodeId: string;
  readonly kind: LinkKind;
  /** Where it says that it is reached; of whoever opened the stream. */
  readonly host: string;
  readonly port: number;
  readonly clusterId: string;
}

/** There is no link. */
export interface LinkRefused {
  readonly type: "refused";
  /** `protocol`: what came is no such message. */
  readonly reason: RefusalReason | "protocol" | "proof";
  /** In words, for the log. Names no secret. */
  readonly text: string;
  /** To be sent before the stream is closed; `undefined`: nothing is said to the other side. */
  readonly refusal: Uint8Array | undefined;
}

export type AnswerVerdict =
  /** The other side has proved itself: `proof` goes out, and frames after it. */
  | {
      readonly type: "proved";
      readonly nodeId: string;
      readonly proof: Uint8Array;
      /** Of the secret by which both have proved themselves. */
      readonly key: Uint8Array;
      readonly linkKey: Uint8Array | undefined;
    }
  | LinkRefused;

export type HelloVerdict = { readonly type: "answer"; readonly answer: Uint8Array } | LinkRefused;

export type ProofVerdict =
  /** Frames may come. */
  { readonly type: "proved"; readonly peer: LinkPeer; readonly linkKey: Uint8Array | undefined } | LinkRefused;

const OWN_VERSIONS: Versions = { oldest: OLDEST_VERSION, newest: NEWEST_VERSION };
const PROTOCOL: LinkRefused = {
  type: "refused",
  reason: "protocol",
  text: "it speaks another protocol",
  refusal: undefined,
};

/** The side that opened the stream. */
export class LinkOpener {
  /** To be sent first. */
  readonly hello: Uint8Array;
  readonly #self: LinkSelf;
  readonly #kind: LinkKind;

  /** @param nonce Drawn for this link alone: `NONCE_BYTES` of them. */
  constructor(self: LinkSelf, kind: LinkKind, nonce: Uint8Array) {
    this.#self = self;
    this.#kind = kind;
    this.hello = encodeHandshake({
      type: "hello",
      versions: OWN_VERSIONS,
      kind,
      nodeId: self.nodeId,
      host: self.host,
      port: self.port,
      clusterId: clusterOf(self, kind),
      nonce,
      hints: self.keys.map((key) => keyHint(key, nonce)),
    });
  }

  /** What came back. Once. */
  answered(payload: Uint8Array): AnswerVerdict {
    const message = readHandshake(payload);
    if (message?.type === "refusal") return this.#refusedBy(message);
    if (message?.type !== "answer") return PROTOCOL;
    if (!overlaps(message.versions)) return refused("versions", versionsText(message.nodeId, message.versions));
    const key = this.#self.keys[message.hint];
    if (key === undefined || !isSameProof(message.proof, proofOf(key, "answer", this.hello, message.body))) {
      return refused("proof", `node ${message.nodeId} did not prove that it knows the cluster secret`);
    }
    if (message.nodeId === this.#self.nodeId) return refused("self", SELF);
    if (message.clusterId !== clusterOf(this.#self, this.#kind)) {
      return refused("cluster", clusterText(message.nodeId, message.clusterId, this.#self));
    }
    return {
      type: "proved",
      nodeId: message.nodeId,
      proof: encodeHandshake({ type: "proof", proof: proofOf(key, "proof", this.hello, message.body) }),
      key,
      linkKey: linkKeyOf(key, this.hello, message.body),
    };
  }

  #refusedBy({ reason, versions, clusterId }: Refusal): LinkRefused {
    switch (reason) {
      case "versions":
        return refused(reason, versionsText(undefined, versions));
      case "secret":
        return refused(reason, "it does not know this node's cluster secret");
      case "self":
        return refused(reason, SELF);
      case "no-cluster":
        return refused(reason, "it is not in a cluster yet");
      case "cluster":
        return refused(reason, clusterText(undefined, clusterId, this.#self));
      default:
        return reason satisfies never;
    }
  }
}

/** The side that took the stream. */
export class LinkTaker {
  readonly #self: LinkSelf;
  readonly #nonce: Uint8Array;
  #agreed:
    | { readonly hello: Hello; readonly payload: Uint8Array; readonly body: Uint8Array; readonly key: Uint8Array }
    | undefined;

  /** @param nonce Drawn for this link alone: `NONCE_BYTES` of them. */
  constructor(self: LinkSelf, nonce: Uint8Array) {
    this.#self = self;
    this.#nonce = nonce;
  }

  /** The kind of link that the hello asked for. */
  get kind(): LinkKind | undefined {
    return this.#agreed?.hello.kind;
  }

  /** Of the secret by which both prove themselves, once that is agreed. */
  get key(): Uint8Array | undefined {
    return this.#agreed?.key;
  }

  /** The first message. */
  greeted(payload: Uint8Array): HelloVerdict {
    const hello = readHandshake(payload);
    if (hello?.type !== "hello") return PROTOCOL;
    const { nodeId, kind, nonce } = hello;
    if (!overlaps(hello.versions)) return this.#refuse("versions", versionsText(nodeId, hello.versions));
    const found = hello.hints
      .map((hint) => this.#self.keys.find((key) => isSameProof(keyHint(key, nonce), hint)))
      .map((key, hint) => ({ key, hint }))
      .find(({ key }) => key !== undefined);
    if (found?.key === undefined) return this.#refuse("secret", `node ${nodeId} has another cluster secret`);
    if (nodeId === this.#self.nodeId) return this.#refuse("self", SELF);
    if (kind === "member" && this.#self.clusterId === undefined) {
      return this.#refuse("no-cluster", `node ${nodeId} is in cluster ${hello.clusterId}, and this one in none yet`);
    }
    const clusterId = clusterOf(this.#self, kind);
    if (hello.clusterId !== clusterId) {
      return this.#refuse("cluster", clusterText(nodeId, hello.clusterId, this.#self), clusterId);
    }
    const body = encodeAnswerBody({
      versions: OWN_VERSIONS,
      nodeId: this.#self.nodeId,
      clusterId,
      nonce: this.#nonce,
      hint: found.hint,
    });
    this.#agreed = { hello, payload, body, key: found.key };
    const proof = proofOf(found.key, "answer", payload, body);
    return { type: "answer", answer: encodeHandshake({ type: "answer", body, proof }) };
  }

  /** The second message. Once, after `greeted` gave an answer. */
  proved(payload: Uint8Array): ProofVerdict {
    const message = readHandshake(payload);
    if (this.#agreed === undefined || message?.type !== "proof") return PROTOCOL;
    const { hello, payload: greeting, body, key } = this.#agreed;
    if (!isSameProof(message.proof, proofOf(key, "proof", greeting, body))) {
      return refused("proof", `node ${hello.nodeId} did not prove that it knows the cluster secret`);
    }
    const { nodeId, kind, host, port, clusterId } = hello;
    return {
      type: "proved",
      peer: { nodeId, kind, host, port, clusterId },
      linkKey: linkKeyOf(key, greeting, body),
    };
  }

  #refuse(reason: RefusalReason, text: string, clusterId = ""): LinkRefused {
    const refusal = encodeHandshake({ type: "refusal", reason, versions: OWN_VERSIONS, clusterId });
    return { type: "refused", reason, text, refusal };
  }
}

/** Of one direction of one link. A proof with the empty secret proves nothing: there is none. */
function linkKeyOf(key: Uint8Array, hello: Uint8Array, answer: Uint8Array): Uint8Array | undefined {
  return isSecret(key) ? proofOf(key, "link", hello, answer) : undefined;
}

const SELF =
  "it has this node's id: it is this node itself, or a second one that was started with its --name or a copy of its data directory, and needs its own";

function refused(reason: LinkRefused["reason"], text: string): LinkRefused {
  return { type: "refused", reason, text, refusal: undefined };
}

/** What a link of a kind proves of the cluster. */
function clusterOf(self: LinkSelf, kind: LinkKind): string {
  return kind === "member" ? (self.clusterId ?? "") : "";
}

function overlaps({ oldest, newest }: Versions): boolean {
  return oldest <= newest && oldest <= NEWEST_VERSION && newest >= OLDEST_VERSION;
}

function versionsText(nodeId: string | undefined, { oldest, newest }: Versions): string {
  return `${nodeId === undefined ? "it" : `node ${nodeId}`} speaks versions ${oldest} to ${newest} of the protocol, and this one ${OLDEST_VERSION} to ${NEWEST_VERSION}`;
}

function clusterText(nodeId: string | undefined, clusterId: string, self: LinkSelf): string {
  return `${nodeId === undefined ? "it" : `node ${nodeId}`} is in cluster ${clusterId === "" ? "none" : clusterId}, and this one in ${self.clusterId ?? "none"}`;
}
