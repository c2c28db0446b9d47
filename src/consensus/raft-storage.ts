/**
 * Raft's memory: what a member must not forget, on a disk.
 *
 * In the directory `raft`:
 * - `snapshot-N`: the application's state at index N, one record. Written beside, made durable, renamed.
 * - `segment-N`: records of terms, votes and entries, in the order in which they came to be. A segment begins with what the member was then: its
 *   identity, term and vote, and the entries after the snapshot.
 *
 * After a new snapshot is durable, a new segment begins; when that is durable, everything older is removed. Each start begins a segment of its own as
 * well. A crash between any two of these steps leaves a directory that reads the same:
 * 1. snapshot N is there, the last segment still begins before it: entries up to N are left out;
 * 2. the new segment is there, and not whole yet: the one before it counts, which was made durable to its end before;
 * 3. the new segment is whole: it says everything, and whatever else is there does not count.
 *
 * Entries that a record brings replace those at their indexes and after. If the log does not hold the snapshot's last entry, with its term, the snapshot
 * came from a leader and replaced the log: what the segment holds is left out. That is why nothing is added to a segment that is older than the snapshot:
 * entries that follow the snapshot would be left out too.
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
const WAY_OUT = "restore the directory from a backup, or remove it and let the node join anew";

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
  readonly #segmentBytes: number;
  readonly #identity: RaftIdentity;
  #segment: number;
  // Of the present segment.
  #length = 0;
  #syncedLength = 0;
  #headLength = 0;
  #term = 0;
  #votedFor: PeerId | undefined;
  #snapshotIndex = 0;
  // Entries after the snapshot, for the beginning of the next segment. Shared with the machine's log: they are never changed.
  #entries: Entry[] = [];

  private constructor(disk: Disk, identity: RaftIdentity, segment: number, segmentBytes: number) {
    this.#disk = disk;
    this.#identity = identity;
    this.#segment = segment;
    this.#segmentBytes = segmentBytes;
  }

  /**
   * Begins an empty member: of a new group (with its founding snapshot), or of one that will send it everything.
   *
   * @param segmentBytes How long a segment may become before another begins.
   */
  static async create(
    disk: Disk,
    identity: RaftIdentity,
    snapshot: Snapshot,
    segmentBytes = SEGMENT_BYTES,
  ): Promise<RaftStorage> {
    // What an abandoned attempt left is another identity's. In this order segments go before snapshots.
    for (const name of await disk.list(DIRECTORY)) await disk.remove(`${DIRECTORY}/${name}`);
    const storage = new RaftStorage(disk, identity, 0, segmentBytes);
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
  static async open(
    disk: Disk,
    segmentBytes = SEGMENT_BYTES,
  ): Promise<{ readonly storage: RaftStorage; readonly stored: StoredRaft } | undefined> {
    const names = await disk.list(DIRECTORY);
    const snapshots = numbered(names, "snapshot");
    const segments = numbered(names, "segment");
    const last = segments.at(-1);
    if (last === undefined) return undefined;
    const newest = snapshots.at(-1);
    if (newest === undefined) throw new Fault(`Damaged directory ${DIRECTORY}: there is no snapshot; ${WAY_OUT}`);
    const snapshot = await readSnapshot(disk, newest.name);

    let present = last;
    let segment = await readSegment(disk, last.name, true);
    if (segment === undefined) {
      const before = segments.at(-2);
      if (before === undefined) {
        // The very first segment was not whole yet: nothing was ever promised. A later one is alone only once it is whole.
        if (last.number === 1) return undefined;
        throw damaged(last.name, 0);
      }
      present = before;
      segment = await readSegment(disk, before.name, false);
      if (segment === undefined) throw damaged(before.name, 0);
    }
    if (segment.tornBytes > 0) await disk.truncate(present.name, segment.goodBytes);
    // A process that was killed may have left what is there to the machine alone.
    await disk.sync(present.name);

    const { identity, term, votedFor } = segment;
    const storage = new RaftStorage(disk, identity, present.number, segmentBytes);
    storage.#term = term;
    storage.#votedFor = votedFor;
    storage.#snapshotIndex = snapshot.index;
    storage.#entries = entriesAfter(segment.entries, snapshot);
    const entries = storage.#entries.slice();
    for (const [at, { index }] of entries.entries()) {
      if (index === snapshot.index + 1 + at) continue;
      throw new Fault(
        `Damaged directory ${DIRECTORY}: entry ${index} stands where ${snapshot.index + 1 + at} belongs, after the snapshot that ends at ${snapshot.index}; ${WAY_OUT}`,
      );
    }
    await storage.#beginSegment();
    return {
      storage,
      stored: { identity, state: { term, votedFor, snapshot, entries }, tornBytes: segment.tornBytes },
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
    // Beyond what it began with: a log that is longer than a segment would else begin one at every write.
    if (this.#length - this.#headLength > this.#segmentBytes) await this.#beginSegment();
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
    await this.#sync();
    this.#headLength = this.#length;
    const keep = new Set([`segment-${this.#segment}`, `snapshot-${this.#snapshotIndex}`]);
    for (const name of await this.#disk.list(DIRECTORY)) {
      if (!keep.has(name)) await this.#disk.remove(`${DIRECTORY}/${name}`);
    }
  }
}

interface NumberedFile {
  readonly name: string;
  readonly number: number;
}

/** The files of a kind, in the order of their numbers. */
function numbered(names: readonly string[], kind: "snapshot" | "segment"): readonly NumberedFile[] {
  return names
    .flatMap((name) => {
      const match = new RegExp(`^${kind}-([0-9]{1,15})$`).exec(name);
      return match === null ? [] : [{ name: `${DIRECTORY}/${name}`, number: Number(match[1]) }];
    })
    .toSorted((a, b) => a.number - b.number);
}

function damaged(name: string, offset: number): Fault {
  return new Fault(
    `Damaged file ${name} at offset ${offset}: a record that was durable is not what it was; ${WAY_OUT}`,
  );
}

/** What a segment's records come to. */
interface Segment {
  readonly identity: RaftIdentity;
  readonly term: number;
  readonly votedFor: PeerId | undefined;
  readonly entries: Entry[];
  readonly goodBytes: number;
  readonly tornBytes: number;
}

/**
 * Reads a segment.
 *
 * @param mayBeTorn It is the last one, in which a write may have been cut off.
 * @returns `undefined` if its first record is not whole.
 */
async function readSegment(disk: Disk, name: string, mayBeTorn: boolean): Promise<Segment | undefined> {
  const bytes = (await disk.read(name)) ?? new Uint8Array(0);
  const { records, goodBytes, damagedAt } = readJournal(bytes);
  const tornBytes = bytes.length - goodBytes;
  if (damagedAt !== undefined || (tornBytes > 0 && !mayBeTorn)) throw damaged(name, damagedAt ?? goodBytes);
  let identity: RaftIdentity | undefined;
  let term = 0;
  let votedFor: PeerId | undefined;
  let entries: Entry[] = [];
  for (const [at, payload] of records.entries()) {
    const reader = new ByteReader(payload);
    const kind = reader.byte();
    if (kind === HEAD) {
      const format = reader.number();
      if (format !== FORMAT) {
        throw new Fault(`Cannot read ${name}: it has format ${format}, and this version reads format ${FORMAT}`);
      }
      identity = { group: reader.text(), peer: reader.text() };
    }
    term = reader.number();
    const vote = reader.text();
    votedFor = vote === "" ? undefined : vote;
    for (const entry of reader.list(() => readEntry(reader))) entries = spliceEntry(entries, entry);
    // Only the first record is a head.
    if (!reader.isWhole || kind !== (at === 0 ? HEAD : STATE)) {
      throw new Fault(`Damaged file ${name}: its record ${at + 1} makes no sense; ${WAY_OUT}`);
    }
  }
  return identity === undefined ? undefined : { identity, term, votedFor, entries, goodBytes, tornBytes };
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
    throw new Fault(`Damaged file ${name} at offset ${content.goodBytes}: ${WAY_OUT}`);
  }
  return snapshot;
}
