/**
 * What clients must give with AUTH or HELLO: a password, and one more that is accepted while it is being changed. A node gives the first to other nodes, of which it is a
 * client at times.
 *
 * What is compared are SHA-256 digests, each in constant time, so that how long it takes tells nothing of a password.
 */
import { createHash, timingSafeEqual } from "node:crypto";

/** As long as anybody's is. */
export const MAX_PASSWORD_LENGTH = 512;

export class ClientPasswords {
  #password: string | undefined;
  #also: string | undefined;

  /** @param password `undefined`: none is asked for. */
  constructor(password: string | undefined) {
    this.#password = password;
  }

  /** The one to use; `undefined`: none is asked for. */
  get current(): string | undefined {
    return this.#password;
  }

  /** The other one that is accepted, if there is one. */
  get also(): string | undefined {
    return this.#also;
  }

  /** Whether clients must give one. */
  get isNeeded(): boolean {
    return this.#password !== undefined;
  }

  /** From here on; clients that are let in stay so. */
  replace(password: string | undefined, also: string | undefined): void {
    this.#password = password;
    this.#also = also;
  }

  /** Whether somebody who gives this is let in. */
  accepts(given: Uint8Array): boolean {
    if (this.#password === undefined) return true;
    const digest = digestOf(given);
    // Both are compared, whichever fits.
    const fits = [this.#password, this.#also].map(
      (each) => each !== undefined && timingSafeEqual(digest, digestOf(each)),
    );
    return fits.includes(true);
  }
}

function digestOf(value: Uint8Array | string): Uint8Array {
  return createHash("sha256").update(value).digest();
}
