/**
 * Who may do what over HTTP: bearer tokens, each with a role.
 *
 * What is kept of a token is its SHA-256. A token that is shown is compared with every one there is, each in constant time, so that how long it takes tells
 * neither which one it is like nor how much.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { HttpCaller, HttpRole } from "../contracts/http.ts";
import { Problem } from "./problem.ts";

/** Roles that have tokens, the least first. */
export const TOKEN_ROLES = ["read", "operate", "admin"] as const;
export type TokenRole = (typeof TOKEN_ROLES)[number];

/** More of one role are no change from one to another. */
const MAX_TOKENS = 8;
/** What RFC 6750 lets a token be made of. */
const TOKEN = "[A-Za-z0-9._~+/-]{16,256}=*";
/** One or several, with blanks between them. */
export const TOKENS_PATTERN = `^${TOKEN}( ${TOKEN}){0,${MAX_TOKENS - 1}}$`;
export const TOKENS_WANTS = `16 to 256 letters, digits or characters of ._~+/-; several, ${MAX_TOKENS} at most, with a blank between them`;

const RANK: Readonly<Record<HttpRole, number>> = { none: 0, read: 1, operate: 2, admin: 3 };

/** Whether a role includes what another one may do. */
export function includes(role: HttpRole, least: HttpRole): boolean {
  return RANK[role] >= RANK[least];
}

/**
 * Lets a caller pass who may do something.
 *
 * @throws {Problem} If it may not.
 */
export function mustInclude({ role, hasToken }: Pick<HttpCaller, "role" | "hasToken">, least: HttpRole): void {
  if (includes(role, least)) return;
  if (hasToken) throw new Problem("forbidden", `This needs the role "${least}", and the token has the role "${role}".`);
  throw new Problem("unauthorized", `This needs a token with the role "${least}".`, {
    headers: { "www-authenticate": "Bearer" },
  });
}

/** The tokens of a node. */
export class TokenTable {
  readonly #digests = new Map<TokenRole, readonly Uint8Array[]>();

  /** Whether there is any. */
  get hasTokens(): boolean {
    return [...this.#digests.values()].some((digests) => digests.length > 0);
  }

  /**
   * From here on a role has these tokens and no others.
   *
   * @param text As `TOKENS_PATTERN` has them; empty: none.
   * @returns What is wrong with the text, as a sentence's end that names no token.
   */
  replace(role: TokenRole, text: string): string | undefined {
    if (text !== "" && !new RegExp(TOKENS_PATTERN).test(text)) return `a token is ${TOKENS_WANTS}`;
    const digests = text === "" ? [] : text.split(" ").map(digestOf);
    const others = [...this.#digests].flatMap(([other, theirs]) => (other === role ? [] : theirs));
    if (digests.some((digest) => others.some((other) => timingSafeEqual(digest, other))))
      return "a token is that of another role already";
    this.#digests.set(role, digests);
    return undefined;
  }

  /**
   * From here on some roles have these tokens and no others: all of them, or nothing changes. A token may go from one to another.
   *
   * @returns As of `replace`.
   */
  replaceAll(texts: ReadonlyMap<TokenRole, string>): string | undefined {
    const setBack = [...texts.keys()].map((role) => this.keep(role));
    for (const role of texts.keys()) this.#digests.delete(role);
    for (const [role, text] of texts) {
      const problem = this.replace(role, text);
      if (problem === undefined) continue;
      for (const each of setBack) each();
      return `of role "${role}", ${problem}`;
    }
    return undefined;
  }

  /** What sets a role's tokens back to what they are at this moment. */
  keep(role: TokenRole): () => void {
    const digests = this.#digests.get(role) ?? [];
    return () => void this.#digests.set(role, digests);
  }

  /** How many tokens a role has, in words that tell nothing of them. */
  describe(role: TokenRole): string {
    const count = this.#digests.get(role)?.length ?? 0;
    return count === 0 ? "none" : count === 1 ? "a token" : `${count} tokens`;
  }

  /** @returns The role of a token that somebody shows; `undefined`: it is none of ours. */
  roleOf(token: string): TokenRole | undefined {
    const shown = digestOf(token);
    let found: TokenRole | undefined;
    for (const [role, digests] of this.#digests) {
      // Not until one fits: all are compared.
      for (const digest of digests) if (timingSafeEqual(shown, digest)) found = role;
    }
    return found;
  }
}

function digestOf(token: string): Uint8Array {
  return createHash("sha256").update(token, "utf8").digest();
}
