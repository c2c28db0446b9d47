/**
 * Who a node is: 40 hexadecimal digits that stay the same for its life, whatever its address.
 *
 * With a data directory the id is made once and kept there. Without one it is derived from the node's name, so that a node which comes back
 * under its name is known again; without a name it is new at each start. `CLUSTER RESET HARD` gives the node another id.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { StartError, messageOf } from "./errors.ts";
import { type NetAddress, formatAddress, parseAddress } from "./net-address.ts";
import type { Disk, Random } from "./world.ts";

/** The file in a data directory that says whose it is. */
export const IDENTITY_FILE = "node.json";
/** Of the data directory's layout. A node refuses one that it does not know. */
const FORMAT = 1;

interface StoredIdentity extends Identity {
  readonly format: number;
  readonly name: string | null;
}

/** A cluster that the node has moved to from another one. */
export interface Joining {
  readonly group: string;
  /** Where some of its members were. */
  readonly members: readonly NetAddress[];
  /** The clusters that the node has left on its way there: whoever looks for one of them finds it here. */
  readonly former: readonly string[];
}

/** Who a node is. */
export interface Identity {
  readonly id: string;
  /** It was reset to be a cluster by itself (`CLUSTER RESET`): lists of nodes in its settings are not about it any more. */
  readonly isReset: boolean;
  /**
   * Who it was in the group that it left then, if it was in one: what its data directory holds of that is nobody's memory any more. A node that stops between noting
   * this and founding its own group, or joining another, still has it.
   */
  readonly leftPeer: string | undefined;
  /** It has left the cluster that it was, for this one (`CLUSTER MEET`). */
  readonly joining: Joining | undefined;
}

/** Of a node that is what it began as. */
const FRESH = { isReset: false, leftPeer: undefined, joining: undefined } as const;

/** @returns 40 random hexadecimal digits. */
export function randomId(random: Random): string {
  return Buffer.from(random.bytes(20)).toString("hex");
}

/** The id of a node that has a name and nothing else. */
export function idOfName(name: string): string {
  return createHash("sha1").update(`bunch node ${name}`).digest("hex");
}

/**
 * Finds out who the node is, and claims the data directory for it when that is new.
 *
 * @param dataDirectory Its path, for messages; `undefined`: there is none.
 * @param name The node's name, if it was given one.
 * @throws {StartError} If the directory is another node's, of another format, or somebody else's, or if it cannot be read or written.
 */
export async function identify(
  disk: Disk,
  random: Random,
  dataDirectory: string | undefined,
  name: string | undefined,
): Promise<Identity> {
  if (dataDirectory === undefined) return { ...FRESH, id: newId(random, name) };
  try {
    return await claim(disk, random, dataDirectory, name);
  } catch (thrown) {
    if (thrown instanceof StartError) throw thrown;
    // No permission, no room, a file where a directory should be: whoever chose the directory can mend it.
    throw new StartError(`Cannot use data directory "${dataDirectory}": ${messageOf(thrown)}`, { cause: thrown });
  }
}

function newId(random: Random, name: string | undefined): string {
  return name === undefined ? randomId(random) : idOfName(name);
}

async function claim(disk: Disk, random: Random, dataDirectory: string, name: string | undefined): Promise<Identity> {
  const stored = await disk.read(IDENTITY_FILE);
  if (stored === undefined) {
    const others = await disk.list(".");
    if (others.some((file) => !file.startsWith(`${IDENTITY_FILE}.`))) {
      throw new StartError(
        `Cannot use data directory "${dataDirectory}": it holds files (${others.slice(0, 3).join(", ")}) and no ${IDENTITY_FILE}, so it is not a node's; name an empty or a new directory`,
      );
    }
    const id = newId(random, name);
    await writeIdentity(disk, { id, name });
    return { ...FRESH, id };
  }
  const identity = check(stored, dataDirectory);
  if (name !== undefined && identity.name !== null && identity.name !== name) {
    throw new StartError(
      `Cannot use data directory "${dataDirectory}": it belongs to node "${identity.name}", and this node is named "${name}"; name its own directory, or leave --name out`,
    );
  }
  return identity;
}

function check(stored: Uint8Array, dataDirectory: string): StoredIdentity {
  const identity = parse(new TextDecoder().decode(stored));
  if (identity === undefined) {
    throw new StartError(
      `Cannot use data directory "${dataDirectory}": its ${IDENTITY_FILE} is damaged; restore it, or name another directory`,
    );
  }
  if (identity.format !== FORMAT) {
    throw new StartError(
      `Cannot use data directory "${dataDirectory}": it has format ${identity.format}, and this version reads format ${FORMAT}`,
    );
  }
  return identity;
}

/** Whose a data directory is. */
export interface Owner {
  readonly id: string;
  readonly name: string | undefined;
}

/**
 * Reads whose a data directory is.
 *
 * @param dataDirectory Its path, for messages.
 * @returns `undefined` if it does not say.
 * @throws {StartError} If what it says is damaged or of another format.
 */
export async function readIdentity(disk: Disk, dataDirectory: string): Promise<Owner | undefined> {
  const stored = await disk.read(IDENTITY_FILE);
  if (stored === undefined) return undefined;
  const { id, name } = check(stored, dataDirectory);
  return { id, name: name ?? undefined };
}

/** Claims a data directory for a node. */
export function writeIdentity(disk: Disk, { id, name }: Owner): Promise<void> {
  return store(disk, { ...FRESH, format: FORMAT, id, name: name ?? null });
}

/**
 * Notes that the node was reset, or has moved to another cluster, with the id that it has from here on. Without a data directory nothing is noted: the next
 * start is as the first one was.
 *
 * @param hasDataDirectory Whether `identify` was given one.
 * @param left See `Identity`.
 */
export async function identifyAnew(
  disk: Disk,
  hasDataDirectory: boolean,
  id: string,
  left: Pick<Identity, "leftPeer" | "joining">,
): Promise<Identity> {
  const identity = { id, isReset: true, ...left };
  if (hasDataDirectory) {
    const stored = parse(new TextDecoder().decode((await disk.read(IDENTITY_FILE)) ?? new Uint8Array(0)));
    await store(disk, { format: FORMAT, name: stored?.name ?? null, ...identity });
  }
  return identity;
}

async function store(disk: Disk, identity: StoredIdentity): Promise<void> {
  const { joining, ...rest } = identity;
  const stored =
    joining === undefined ? rest : { ...rest, joining: { ...joining, members: joining.members.map(formatAddress) } };
  // Written beside and renamed, so that a crash leaves either no identity, or the one before, or a whole one.
  const draft = `${IDENTITY_FILE}.new`;
  await disk.remove(draft);
  await disk.append(draft, new TextEncoder().encode(`${JSON.stringify(stored)}\n`));
  await disk.sync(draft);
  await disk.rename(draft, IDENTITY_FILE);
}

function parse(text: string): StoredIdentity | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || !("format" in value) || typeof value.format !== "number")
      return undefined;
    // Of another format nothing but the number is known to be there.
    if (value.format !== FORMAT) return { ...FRESH, format: value.format, id: "", name: null };
    if (!("id" in value) || typeof value.id !== "string" || !/^[0-9a-f]{40}$/.test(value.id)) return undefined;
    const name = "name" in value && typeof value.name === "string" ? value.name : null;
    const isReset = "isReset" in value && value.isReset === true;
    const leftPeer = "leftPeer" in value && typeof value.leftPeer === "string" ? value.leftPeer : undefined;
    const joining = "joining" in value ? readJoining(value.joining) : undefined;
    return { format: value.format, id: value.id, name, isReset, leftPeer, joining };
  } catch {
    return undefined;
  }
}

function readJoining(value: unknown): Joining | undefined {
  if (typeof value !== "object" || value === null || !("group" in value) || typeof value.group !== "string")
    return undefined;
  const members = "members" in value && Array.isArray(value.members) ? value.members : [];
  const addresses = members.flatMap((each: unknown) => (typeof each === "string" ? (parseAddress(each) ?? []) : []));
  const former = "former" in value && Array.isArray(value.former) ? value.former : [];
  return { group: value.group, members: addresses, former: former.filter((id: unknown) => typeof id === "string") };
}
