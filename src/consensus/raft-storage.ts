/**
 * Raft's memory: what a member must not forget, on a disk.
 *
 * In the directory `raft`:
 * - `snapshot-N`: the application's state at index N, one record. Written beside, made durable, renamed.
 * - `segment-N`: records of terms, votes and entries, in the order in which they came to be. A segment begins with what the member was then: its
 *   identity, term and vote, and the entries after the snapshot.
 *
 * After a new snapshot is durable, a new segment begins; when that is durable, everything older is removed. A crash between any two of these
 * steps leaves a directory that reads the same:
 * 1. snapshot N is there, segments still begin before it: entries up to N are left out;
 * 2. the new segment is there too: it says once more what the older ones said.
 *
 * Entries that a record brings replace those at their indexes and after. If the log does not hold the snapshot's last entry, with its term, the snapshot
 * came from a leader and replaced the log: what older segments hold is left out.
 */
import { Fault } from "../assert.ts";
import { ByteReader } from "../codec/byte-reader.ts";
import { ByteWriter } from "../codec/byte-writer.ts";
import { encodeRecord, readJournal } from "../codec/journal.ts";
import { readConfiguration, readEntry, writeConfiguration, writeEntry } from "../codec/raft-codec.ts";
import type { DurableState, Effect, Entry, PeerId, Snapshot } from "../protocol/raft/types.ts";
import type { Disk } from "../world.ts";

const DIRECTORY = "raft";
/** Of the records' form. */
const FORMAT = 1;
/** A segment longer than this is followed by another, so that files stay handy. */
const SEGMENT_BYTES = 16 * 1024 * 1024;

const HEAD = 1;
const STATE = 2;

type Persist = Extract<Effect, { readonly type: "persist" }>;

/** What belongs to a member for good. */
export interface RaftIdentity {
  /** The group that it is a member of. */
  readonly group: string;
  readonly peer: PeerId;
}

/** What a directory held. */
export interface StoredRaft {
  readonly identity: RaftIdentity;
  readonly state: DurableState;
  /** Bytes of a torn write that were cut off. */
  readonly tornBytes: number;
}

export class RaftStorage {
  readonly #disk: Disk;
  #identity: RaftIdentity;
  #segment: number;
  // Of the present segment.
  #length = 0;
  #syncedLength = 0;
  #term = 0;
  #votedFor: PeerId | undefined;
  #snapshotIndex = 0;
  // Entries after the snapshot, for the beginning of the next segment. Shared with the machine's log: they are never changed.
  #entries: Entry[] = [];

  private constructor(disk: Disk, identity: RaftIdentity, segment: number) {
    this.#disk = disk;
    this.#identity = identity;
    this.#segment = segment;
  }

  /** Begins an empty member: of a new group (with its founding snapshot), or of one that will send it everything. */
  static async create(disk: Disk, identity: RaftIdentity, snapshot: Snapshot): Promise<RaftStorage> {
    // What an abandoned attempt left is another identity's.
    for (const name of await disk.list(DIRECTORY)) await disk.remove(`${DIRECTORY}/${name}`);
    const storage = new RaftStorage(disk, identity, 0);
    await storage.#writeSnapshot(snapshot);
    await storage.#beginSegment();
    return storage;
  }

  /**
   * Opens what is there.
   *
   * @returns `undefined` if there is nothing, or nothing whole: the member was never founded.
   * @throws {Fault} If something that was durable is damaged; names file and offset.
   */
  static async open(disk: Disk): Promise<{ readonly storage: RaftStorage; readonly stored: StoredRaft } | undefined> {
    const names = await disk.list(DIRECTORY);
    const numbered = (prefix: string): readonly { readonly name: string; readonly number: number }[] =>
      names
        .flatMap((name) => {
          const match = new RegExp(`^${prefix}-([0-9]{1,15})$`).exec(name);
          return match === null ? [] : [{ name: `${DIRECTORY}/${name}`, number: Number(match[1]) }];
        })
        .toSorted((a, b) => a.number - b.number);
    const newest = numbered("snapshot").at(-1);
    const segments = numbered("segment");
    const last = segments.at(-1);
    if (newest === undefined || last === undefined) return undefined;
    const snapshot = await readSnapshot(disk, newest.name);

    let identity: RaftIdentity | undefined;
    let term = 0;
    let votedFor: PeerId | undefined;
    let entries: Entry[] = [];
    let lastLength = 0;
    let tornBytes = 0;
    for (const segment of segments) {
      const bytes = (await disk.read(segment.name)) ?? new Uint8Array(0);
      const content = readJournal(bytes);
      const torn = bytes.length - content.goodBytes;
      if (content.damagedAt !== undefined || (torn > 0 && segment !== last)) {
        throw new Fault(
          `Damaged file ${segment.name} at offset ${content.damagedAt ?? content.goodBytes}: a record that was durable is not what it was; restore the directory from a backup, or remove it and let the node join anew`,
        );
      }
      if (torn > 0) {
        await disk.truncate(segment.name, content.goodBytes);
        tornBytes = torn;
      }
      for (const [at, payload] of content.records.entries()) {
        const reader = new ByteReader(payload);
        const kind = reader.byte();
        if (kind === HEAD) {
          const format = reader.number();
          if (format !== FORMAT) {
            throw new Fault(
              `Cannot read ${segment.name}: it has format ${format}, and this version reads format ${FORMAT}`,
            );
          }
          identity = { group: reader.text(), peer: reader.text() };
        }
        term = reader.number();
        const vote = reader.text();
        votedFor = vote === "" ? undefined : vote;
        const count = reader.count();
        for (let read = 0; read < count; read += 1) {
          const entry = readEntry(reader);
          entries = spliceEntry(entries, entry);
        }
        if (!reader.isWhole || (kind !== HEAD && kind !== STATE)) {
          throw new Fault(`Damaged file ${segment.name}: its record ${at + 1} makes no sense`);
        }
      }
      lastLength = content.goodBytes;
    }
    // The first record of the only segment was torn: nothing was ever promised.
    if (identity === undefined) return undefined;
    const storage = new RaftStorage(disk, identity, last.number);
    storage.#length = lastLength;
    await disk.sync(last.name);
    storage.#syncedLength = lastLength;
    storage.#term = term;
    storage.#votedFor = votedFor;
    storage.#snapshotIndex = snapshot.index;
    storage.#entries = entriesAfter(entries, snapshot);
    const gap = storage.#entries[0];
    if (gap !== undefined && gap.index !== snapshot.index + 1) {
      throw new Fault(
        `Damaged directory ${DIRECTORY}: entries go on at ${gap.index}, and the snapshot ends at ${snapshot.index}`,
      );
    }
    if (lastLength === 0) {
      storage.#segment -= 1;
      await storage.#beginSegment();
    }
    return {
      storage,
      stored: { identity, state: { term, votedFor, snapshot, entries: storage.#entries.slice() }, tornBytes },
    };
  }

  get identity(): RaftIdentity {
    return this.#identity;
  }

  /** Makes the effects durable, all with one `sync` where no snapshot is among them. */
  async persist(effects: readonly Persist[]): Promise<void> {
    for (const effect of effects) {
      this.#term = effect.term;
      this.#votedFor = effect.votedFor;
      for (const entry of effect.entries) this.#entries = spliceEntry(this.#entries, entry);
      const { snapshot } = effect;
      if (snapshot !== undefined) {
        await this.#sync();
        await this.#writeSnapshot(snapshot);
        this.#entries = entriesAfter(this.#entries, snapshot);
        await this.#beginSegment();
      } else {
        await this.#append(this.#stateRecord(STATE, effect.entries));
      }
    }
    await this.#sync();
    if (this.#length > SEGMENT_BYTES) await this.#beginSegment();
  }

  /** Before another segment begins, too: only the last one may have a torn end. */
  async #sync(): Promise<void> {
    if (this.#syncedLength === this.#length) return;
    await this.#disk.sync(this.#name);
    this.#syncedLength = this.#length;
  }

  get #name(): string {
    return `${DIRECTORY}/segment-${this.#segment}`;
  }

  async #append(payload: Uint8Array): Promise<void> {
    const record = encodeRecord(payload, this.#syncedLength);
    this.#length += record.length;
    await this.#disk.append(this.#name, record);
  }

  #stateRecord(kind: typeof HEAD | typeof STATE, entries: readonly Entry[]): Uint8Array {
    const writer = new ByteWriter(256);
    writer.byte(kind);
    if (kind === HEAD) {
      writer.number(FORMAT);
      writer.text(this.#identity.group);
      writer.text(this.#identity.peer);
    }
    writer.number(this.#term);
    writer.text(this.#votedFor ?? "");
    writer.number(entries.length);
    for (const entry of entries) writeEntry(writer, entry);
    return writer.finish();
  }

  async #writeSnapshot(snapshot: Snapshot): Promise<void> {
    const writer = new ByteWriter(snapshot.data.length + 256);
    writer.number(FORMAT);
    writer.number(snapshot.index);
    writer.number(snapshot.term);
    writeConfiguration(writer, snapshot.configuration);
    writer.bytes(snapshot.data);
    const name = `${DIRECTORY}/snapshot-${snapshot.index}`;
    await this.#disk.remove(`${name}.new`);
    await this.#disk.append(`${name}.new`, encodeRecord(writer.finish(), 0));
    await this.#disk.sync(`${name}.new`);
    await this.#disk.rename(`${name}.new`, name);
    this.#snapshotIndex = snapshot.index;
  }

  /** Begins a segment with everything that counts, and removes what is older. */
  async #beginSegment(): Promise<void> {
    this.#segment += 1;
    this.#length = 0;
    this.#syncedLength = 0;
    await this.#disk.remove(this.#name);
    await this.#append(this.#stateRecord(HEAD, this.#entries));
    await this.#disk.sync(this.#name);
    this.#syncedLength = this.#length;
    const keep = new Set([`segment-${this.#segment}`, `snapshot-${this.#snapshotIndex}`]);
    for (const name of await this.#disk.list(DIRECTORY)) {
      if (!keep.has(name)) await this.#disk.remove(`${DIRECTORY}/${name}`);
    }
  }
}

/** Puts an entry in its place: what was there, and after, goes. */
function spliceEntry(entries: Entry[], entry: Entry): Entry[] {
  const last = entries.at(-1);
  if (last !== undefined && entry.index <= last.index) {
    const kept = entries.filter((each) => each.index < entry.index);
    kept.push(entry);
    return kept;
  }
  entries.push(entry);
  return entries;
}

/** The entries that go on after a snapshot; none, if the log was another. */
function entriesAfter(entries: readonly Entry[], snapshot: Snapshot): Entry[] {
  const first = entries[0];
  // A log that begins right after the snapshot, or one that holds its last entry, goes on after it.
  const goesOn =
    first === undefined ||
    first.index === snapshot.index + 1 ||
    entries.some((entry) => entry.index === snapshot.index && entry.term === snapshot.term);
  return goesOn ? entries.filter((entry) => entry.index > snapshot.index) : [];
}

async function readSnapshot(disk: Disk, name: string): Promise<Snapshot> {
  const content = readJournal((await disk.read(name)) ?? new Uint8Array(0));
  const [payload] = content.records;
  const reader = new ByteReader(payload ?? new Uint8Array(0));
  const format = reader.number();
  if (!reader.isBad && format !== FORMAT) {
    throw new Fault(`Cannot read ${name}: it has format ${format}, and this version reads format ${FORMAT}`);
  }
  const snapshot = {
    index: reader.number(),
    term: reader.number(),
    configuration: readConfiguration(reader),
    data: reader.bytes(),
  };
  if (payload === undefined || !reader.isWhole || content.records.length !== 1) {
    throw new Fault(
      `Damaged file ${name} at offset ${content.goodBytes}: restore the directory from a backup, or remove it and let the node join anew`,
    );
  }
  return snapshot;
}
