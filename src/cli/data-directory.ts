/**
 * Data directories from the outside, while no node runs on them: what one holds, and a new one for a cluster of one node.
 *
 * A directory holds a snapshot of the map and the log's entries after it. How far the log was committed is not on disk: a node learns it from the leader.
 * So whoever reads a directory takes every entry. That is the safe side: an entry that was answered as done is never left out, and one that was never
 * agreed on was at least asked for by somebody, and decided by a leader on the same log.
 */
import { readdir } from "node:fs/promises";
import { existsSync } from "node:fs";
import { Fault } from "../assert.ts";
import { RaftStorage } from "../consensus/raft-storage.ts";
import { groupOf } from "../consensus/founding.ts";
import type { NodeRecord } from "../contracts/topology.ts";
import { StartError } from "../errors.ts";
import { IDENTITY_FILE, type Owner, randomId, readIdentity, writeIdentity } from "../identity.ts";
import type { TopologyAct } from "../protocol/topology/records.ts";
import { type Journal, type TopologyState, applyAct, checkState } from "../protocol/topology/state.ts";
import { decodeAct, decodeSnapshot, encodeSnapshot } from "../protocol/topology/topology-json.ts";
import type { Clock, Random } from "../world.ts";
import type { Directories } from "./directories.ts";
import { MemoryDisk } from "./memory-disk.ts";

const RAFT_DIRECTORY = "raft";

/** What a data directory holds. */
export interface StoredCluster {
  readonly node: Owner;
  /** The group that the node is a member of. */
  readonly group: string;
  /** Nodes that vote in it, by id. */
  readonly voters: readonly string[];
  /** The map after all entries. */
  readonly state: TopologyState;
  readonly journal: Journal;
  readonly term: number;
  readonly lastIndex: number;
  readonly snapshotIndex: number;
  /** Acts on the map that the log holds after the snapshot, with their versions. */
  readonly acts: readonly { readonly version: number; readonly act: TopologyAct }[];
  /** Bytes of a torn write at the end of the log, which count as never written. */
  readonly tornBytes: number;
}

/**
 * Reads what a data directory holds, and changes nothing.
 *
 * @throws {StartError} If it is none, is damaged, or has never been in a cluster.
 */
export async function readDataDirectory(directories: Directories, path: string): Promise<StoredCluster> {
  if (!(await directories.exists(path))) {
    throw new StartError(`Cannot read data directory "${path}": there is none.`);
  }
  const disk = await MemoryDisk.copyOf(directories.disk(path), [IDENTITY_FILE], RAFT_DIRECTORY);
  const node = await readIdentity(disk, path);
  if (node === undefined) {
    throw new StartError(`Cannot read data directory "${path}": it has no node.json, so it is not a node's.`);
  }
  try {
    return await readCluster(disk, node, path);
  } catch (thrown) {
    // Damage is nothing that this program did wrong: the sentence says which file.
    if (thrown instanceof Fault) throw new StartError(`Cannot read data directory "${path}": ${thrown.message}.`);
    throw thrown;
  }
}

async function readCluster(disk: MemoryDisk, node: Owner, path: string): Promise<StoredCluster> {
  const opened = await RaftStorage.open(disk);
  const stored = opened?.stored;
  if (stored === undefined || stored.state.snapshot.data.length === 0) {
    throw new StartError(
      `Cannot use data directory "${path}": it holds no cluster map: its node has never been in a cluster, or had not been sent the map yet.`,
    );
  }
  const { snapshot, entries, term } = stored.state;
  const { state: snapshotState, journal } = decodeSnapshot(snapshot.data);
  let state: TopologyState = {
    ...snapshotState,
    clusterId: stored.identity.group,
    version: Math.max(snapshot.index, snapshotState.version),
  };
  const acts: { version: number; act: TopologyAct }[] = [];
  let { configuration } = snapshot;
  for (const entry of entries) {
    configuration = entry.configuration ?? configuration;
    if (entry.data === undefined) continue;
    const act = decodeAct(entry.data);
    state = applyAct(state, entry.index, act);
    journal.add(entry.index, act);
    acts.push({ version: entry.index, act });
  }
  checkState(state);
  return {
    node,
    group: stored.identity.group,
    voters: configuration.members.flatMap(({ id, isVoter }) => (isVoter ? [id.split("/", 1)[0] ?? id] : [])),
    state,
    journal,
    term,
    lastIndex: entries.at(-1)?.index ?? snapshot.index,
    snapshotIndex: snapshot.index,
    acts,
    tornBytes: stored.tornBytes,
  };
}

/** A cluster of one node that is to be. */
export interface NewCluster {
  readonly node: NodeRecord;
  /** As its data directory is to say. */
  readonly name: string | undefined;
  readonly state: TopologyState;
  readonly journal: Journal;
  /** The map's version, and Raft's term and index, go on from here. */
  readonly term: number;
  readonly index: number;
  /** What the history says of its beginning. */
  readonly cause: string;
  readonly changes: readonly string[];
}

/** What else becomes of a directory. */
export interface Surroundings {
  /** A data directory whose other files are taken along. */
  readonly copyFrom?: string;
  /** Where that which is at the path goes before it is replaced. */
  readonly backup?: string;
}

/** Where a directory is made before it takes its place. */
function draftOf(path: string): string {
  return `${path.replace(/\/+$/, "")}.unfinished`;
}

/**
 * Makes a data directory in which a node is the only member of a new group, with a map that is there already. A crash leaves all of it or nothing:
 *
 * 1. It is made beside the path.
 * 2. What is at the path goes to where the backup is to be.
 * 3. It is renamed. A crash just before this leaves nothing at the path: `finishReplacement` does the rest.
 *
 * @returns The new group's name.
 */
export async function writeDataDirectory(
  directories: Directories,
  path: string,
  cluster: NewCluster,
  { copyFrom, backup }: Surroundings,
  { random, clock }: { readonly random: Random; readonly clock: Clock },
): Promise<string> {
  const draft = draftOf(path);
  await directories.remove(draft);
  if (copyFrom !== undefined) await directories.copy(copyFrom, draft, RAFT_DIRECTORY);
  const disk = directories.disk(draft);
  const { node, state, journal, term } = cluster;
  const peer = `${node.id}/${randomId(random).slice(0, 8)}`;
  const group = groupOf(`new cluster ${randomId(random)}`, [peer]);
  const index = cluster.index + 1;
  journal.note({ version: index, timeMs: clock.wallMs(), cause: cluster.cause, changes: cluster.changes });
  const member = {
    id: peer,
    isVoter: true,
    host: node.busHost,
    port: node.busPort,
    zone: node.zone,
    isWitness: node.role === "witness",
  };
  await writeIdentity(disk, { id: node.id, name: cluster.name });
  const storage = await RaftStorage.create(
    disk,
    { group, peer },
    {
      index,
      term,
      configuration: { members: [member] },
      data: encodeSnapshot({ ...state, clusterId: group, version: index }, journal),
    },
  );
  // The log goes on in a later term than the one that the snapshot ends in.
  await storage.persist([{ type: "persist", ticket: 1, term, votedFor: undefined, entries: [], snapshot: undefined }]);
  if (backup !== undefined) await directories.rename(path, backup);
  // An empty directory in its place is replaced; anything else there is an error.
  await directories.rename(draft, path);
  return group;
}

/**
 * Ends the replacement of a data directory that was cut off at its last step. The old one is moved away only once the new one is whole.
 *
 * @returns What is there from here on, if there was something to do.
 */
export async function finishReplacement(directories: Directories, path: string): Promise<StoredCluster | undefined> {
  const draft = draftOf(path);
  if ((await directories.exists(path)) || !(await directories.exists(draft))) return undefined;
  const made = await readDataDirectory(directories, draft);
  await directories.rename(draft, path);
  return made;
}

/** @throws {StartError} If something is there that would be overwritten. */
export async function checkIsFree(path: string): Promise<void> {
  if (!existsSync(path)) return;
  const names = await readdir(path);
  if (names.length > 0) {
    throw new StartError(`Cannot make data directory "${path}": it is there already, and not empty; name a new one.`);
  }
}
