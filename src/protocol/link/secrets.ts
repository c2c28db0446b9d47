/**
 * The cluster's secrets: the one that this node proves with, and one more that it accepts while the secret is being changed.
 *
 * What is kept are keys that were made of them. A node without a secret has the empty one: all goes the same way, and proves nothing to anybody.
 */
import { isSameProof, proofOf } from "../../codec/proof.ts";

/** More would be no change from one to another. */
export const MAX_SECRETS = 2;
/** What a secret is made of: it stands on a line of a file, or beside another one in a parameter. */
export const SECRET_PATTERN = "^[!-~]{8,256}$";
export const SECRET_WANTS = "8 to 256 letters, digits or other visible characters of ASCII, no blanks";

/** Stands for the empty secret. */
const NONE = "-";
const HINT_BYTES = 8;

const encoder = new TextEncoder();

function keyOf(secret: string): Uint8Array {
  return proofOf(encoder.encode(secret), "cluster secret");
}

/** What everybody knows. */
const EMPTY_KEY = keyOf("");

/** Whether a key is of a secret, and not of the empty one. */
export function isSecret(key: Uint8Array): boolean {
  return !isSameProof(key, EMPTY_KEY);
}

/** Whether a key is one of these. */
export function isAmong(keys: readonly Uint8Array[], key: Uint8Array): boolean {
  return keys.some((each) => isSameProof(each, key));
}

export class ClusterSecrets {
  #keys: readonly Uint8Array[] = [];
  #description = "";

  /** @param secrets The one to prove with first; none: the empty one. */
  constructor(secrets: readonly string[]) {
    this.replace(secrets);
  }

  /** From here on these, the one to prove with first. */
  replace(secrets: readonly string[]): void {
    const used = secrets.length > 0 ? secrets : [""];
    this.#keys = used.map(keyOf);
    const [first, second] = used.map((secret) => (secret === "" ? "none" : "a secret"));
    this.#description = `${first ?? ""}${second === undefined ? "" : `, and ${second === "none" ? second : "another"} is accepted`}`;
  }

  /** The one to prove with first. Never empty. */
  get keys(): readonly Uint8Array[] {
    return this.#keys;
  }

  /** What there is, in words that tell nothing of it. */
  get description(): string {
    return this.#description;
  }

  /** @returns What sets it back to what it is at this moment. */
  keep(): () => void {
    const [keys, description] = [this.#keys, this.#description];
    return () => {
      this.#keys = keys;
      this.#description = description;
    };
  }
}

/** What a node's hello says of a key, so that the other side knows which one is meant. Another one for each nonce: whoever listens learns nothing of which secret it is. */
export function keyHint(key: Uint8Array, nonce: Uint8Array): Uint8Array {
  return proofOf(key, "key hint", nonce).subarray(0, HINT_BYTES);
}

/**
 * Takes secrets apart that stand in one text, with blanks or ends of lines between them.
 *
 * @returns The secrets (`-` is the empty one), or what is wrong, as a sentence's end that names none of them.
 */
export function parseSecrets(text: string): { readonly secrets: readonly string[] } | { readonly problem: string } {
  const words = text.split(/\s+/).filter((word) => word !== "");
  if (words.length === 0) return { problem: "it is empty" };
  if (words.length > MAX_SECRETS) {
    return { problem: `there are ${words.length}, and at most ${MAX_SECRETS}: the one to use, and one more to accept` };
  }
  const bad = words.findIndex((word) => word !== NONE && !new RegExp(SECRET_PATTERN).test(word));
  if (bad >= 0) return { problem: `secret ${bad + 1} must be ${SECRET_WANTS}, and is not` };
  if (words[0] === words[1]) return { problem: "both are the same" };
  return { secrets: words.map((word) => (word === NONE ? "" : word)) };
}
