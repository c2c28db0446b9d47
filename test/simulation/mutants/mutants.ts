/**
 * Mutants: deliberate bugs, each the breach of a rule, that the simulations must find.
 *
 * A mutant is a piece of a file and what takes its place. `hunt.ts` applies it to a copy of the sources and runs seeds until one fails; a mutant that
 * lives is a hole in the checkers. When a file changes so that the piece is not there exactly once, the test says so.
 */

export interface Mutant {
  /** In kebab-case. */
  readonly name: string;
  /** The rule that it breaks, in words. */
  readonly breaks: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** What finds it: groups of machines alone (`raft-world.ts`), or whole nodes (`cluster-run.ts`). */
  readonly run: "raft" | "cluster";
  /** It must be found within so many seeds, counted from 1. */
  readonly withinSeeds: number;
}

const MACHINE = "src/protocol/raft/machine.ts";
const LEADER = "src/protocol/raft/leader.ts";
const LOG = "src/protocol/raft/log.ts";

export const MUTANTS: readonly Mutant[] = [
  {
    name: "votes-twice-after-restart",
    breaks: "A vote outlives a restart (paper, 5.2).",
    file: MACHINE,
    find: "this.votedFor = state.term === this.term ? state.votedFor : undefined;",
    replace: "this.votedFor = undefined;",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "counts-an-old-terms-entry",
    breaks: "Only entries of the own term are committed by counting (paper, 5.4.2, figure 8).",
    file: LEADER,
    find: "if (index <= log.commitIndex || log.term(index) !== this.#term) return;",
    replace: "if (index <= log.commitIndex) return;",
    run: "raft",
    withinSeeds: 2000,
  },
  {
    name: "sends-before-persisting",
    breaks: "What a message promises is durable before it leaves (paper, figure 2).",
    file: MACHINE,
    find: 'this.#effects.push({ type: "send", to, message, isDurable });',
    replace: 'this.#effects.push({ type: "send", to, message, isDurable: isDurable && false });',
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "skips-the-up-to-date-check",
    breaks: "A voter refuses a candidate whose log is behind its own (paper, 5.4.1).",
    file: MACHINE,
    find: "const isGranted = isFree && this.log.isUpToDate(message.lastIndex, message.lastTerm);",
    replace: "const isGranted = isFree;",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "counts-itself-before-the-disk",
    breaks: "A leader counts itself for what is durable with it.",
    file: LEADER,
    find: "this.voters.map((id) => (id === self ? durability.index : (this.progress.get(id)?.match ?? 0))),",
    replace: "this.voters.map((id) => (id === self ? log.lastIndex : (this.progress.get(id)?.match ?? 0))),",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "trusts-a-stale-leader",
    breaks: "A message of an earlier term means nothing (paper, figure 2).",
    file: MACHINE,
    find: "} else if (message.term < this.term) {",
    replace: "} else if (message.term < this.term - 1) {",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "heartbeat-tells-too-much",
    breaks: "A heartbeat commits no more than the follower is known to have.",
    file: LEADER,
    find: 'const commitIndex = Math.min(log.commitIndex, progress.match);\n      this.#host.send(id, { type: "heartbeat"',
    replace: 'const { commitIndex } = log;\n      this.#host.send(id, { type: "heartbeat"',
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "truncates-what-matches",
    breaks: "Entries that match stay, for the message may be old (paper, figure 2).",
    file: MACHINE,
    find: "if (term === entry.term) continue;",
    replace: "if (term === entry.term && entry.index <= log.commitIndex) continue;",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "snapshot-over-newer-state",
    breaks: "A snapshot that is behind what is committed is left (paper, 7).",
    file: MACHINE,
    find: "if (message.snapshotIndex <= log.commitIndex) {\n      this.#incoming = undefined;\n      this.#accept(from, log.commitIndex);\n      return;\n    }\n    if (log.term(message.snapshotIndex) === message.snapshotTerm) {",
    replace: "if (log.commitIndex < 0) {",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "snapshot-with-a-later-configuration",
    breaks: "A snapshot holds the members of its index, not those of the log's end.",
    file: LOG,
    find: "this.snapshot = { index, term, configuration: this.configurationAt(index), data };",
    replace: "this.snapshot = { index, term, configuration: this.configuration, data };",
    run: "raft",
    withinSeeds: 2000,
  },
  {
    name: "keeps-a-dropped-configuration",
    breaks: "Members go back when the entry that changed them is dropped (dissertation, 4.1).",
    file: LOG,
    find: "while ((this.#configurations.at(-1)?.index ?? 0) >= index) this.#configurations.pop();",
    replace: "",
    run: "raft",
    withinSeeds: 2000,
  },
  {
    name: "two-changes-at-once",
    breaks: "One change of members at a time (dissertation, 4.1).",
    file: LEADER,
    find: "if (!this.hasCommittedInTerm || log.configurationIndex > log.commitIndex)",
    replace: "if (!this.hasCommittedInTerm)",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "changes-members-before-its-first-commit",
    breaks: "A leader changes members only after an entry of its own term is committed.",
    file: LEADER,
    find: "if (!this.hasCommittedInTerm || log.configurationIndex > log.commitIndex)",
    replace: "if (log.configurationIndex > log.commitIndex)",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "promotes-a-learner-too-early",
    breaks: "A learner votes only when it has nearly all of the log (dissertation, 4.2.1).",
    file: "src/protocol/raft/membership.ts",
    find: 'return isCaughtUp(id) ? replaced({ ...known, isVoter: true }) : "not-caught-up";',
    replace: "return replaced({ ...known, isVoter: true });",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "half-is-a-majority",
    breaks: "Any two majorities share a voter.",
    file: "src/protocol/raft/quorum.ts",
    find: "return Math.floor(count / 2) + 1;",
    replace: "return Math.ceil(count / 2);",
    run: "raft",
    withinSeeds: 400,
  },
  {
    name: "reads-without-asking",
    breaks: "A leader confirms that it leads before it tells a read index (dissertation, 6.4).",
    file: LEADER,
    find: "this.voters.map((id) => (id === self ? this.#round : (this.progress.get(id)?.round ?? 0))),",
    replace: "this.voters.map(() => this.#round),",
    run: "raft",
    withinSeeds: 2000,
  },
  {
    name: "reads-before-its-first-commit",
    breaks:
      "A new leader does not know what is committed before it has committed an entry of its term (dissertation, 6.4).",
    file: LEADER,
    find: "} else if (this.hasCommittedInTerm) {\n      this.#reads.add",
    replace: "} else if (this.#term > 0) {\n      this.#reads.add",
    run: "raft",
    withinSeeds: 2000,
  },
  {
    name: "only-voters-stand",
    breaks: "A member stands as a voter of any configuration that may still count (dissertation, 4.2.2).",
    file: MACHINE,
    find: "      .configurationsFrom(this.log.commitIndex)\n",
    replace: "      .configurationsFrom(this.log.lastIndex)\n",
    run: "raft",
    withinSeeds: 4000,
  },
  {
    name: "restart-forgets-the-leader",
    breaks: "A voter that has restarted may have heard a leader until then (SAFETY 11).",
    file: MACHINE,
    find: "this.#leaderHeardTicksAgo = this.term === 0 ? undefined : 0;",
    replace: "this.#leaderHeardTicksAgo = undefined;",
    run: "cluster",
    withinSeeds: 100,
  },
  {
    name: "asks-no-voter-when-it-heard-the-leader",
    breaks: "A new leader waits from the last time that any of its voters heard the old one (SAFETY 11).",
    file: MACHINE,
    find: "if (heard !== undefined) this.#leaderHeardTicksAgo = Math.min(this.#leaderHeardTicksAgo ?? heard, heard);",
    replace: "if (heard !== undefined) this.#leaderHeardTicksAgo ??= heard;",
    run: "cluster",
    withinSeeds: 100,
  },
  {
    name: "memory-only-node-keeps-its-identity",
    breaks: "A node that has lost its log is another member (SAFETY 2).",
    file: "plugins/raft.ts",
    find: "let peer: PeerId = `${node.id}/${hex(4)}`;",
    replace: 'let peer: PeerId = `${node.id}/${"0".repeat(8)}`;',
    run: "cluster",
    withinSeeds: 100,
  },
  {
    name: "founds-without-everybody",
    breaks: "A cluster is founded only when all founders say that they are fresh (SAFETY 15).",
    file: "src/consensus/founding.ts",
    find: "  if (missing.length > 0)\n",
    replace: "  if (missing.length > others.length / 2)\n",
    run: "cluster",
    withinSeeds: 100,
  },
  {
    name: "decides-on-the-committed-map",
    breaks: "The leader decides on what its whole log gives (SAFETY 14).",
    file: "plugins/topology.ts",
    find: "const decision = decideRequest(ahead?.state ?? state, request, shardIdOf);",
    replace: "const decision = decideRequest(state, request, shardIdOf);",
    run: "cluster",
    withinSeeds: 100,
  },
  {
    name: "forgets-what-it-was-asked",
    breaks: "A request that is asked again happens once (SAFETY 14).",
    file: "plugins/topology.ts",
    find: "if (ahead?.settled.has(requestId) === true || journal.outcomeOf(requestId) !== undefined) {",
    replace: "if (ahead?.settled.has(requestId) === true) {",
    run: "cluster",
    withinSeeds: 200,
  },
  {
    name: "calls-refused-what-nobody-knows",
    breaks: "That a request did not happen is said only when it is known (SAFETY 9).",
    file: "src/consensus/request-queue.ts",
    find: "      pending.copies > 0\n",
    replace: "      pending.copies < 0\n",
    run: "cluster",
    withinSeeds: 100,
  },
  {
    name: "serves-before-the-loser-knows",
    breaks: "Whoever gains slots serves them when the loser knows that it lost them (SAFETY 12).",
    file: "plugins/hash-slot-router.ts",
    find: "if (release.node === self.id) continue;",
    replace: "if (release.version > 0) continue;",
    run: "cluster",
    withinSeeds: 100,
  },
  {
    name: "restarted-primary-serves-as-before",
    breaks: "Another start of a primary is not taken for the one that had the data (SAFETY 2).",
    file: "src/protocol/topology/state.ts",
    find: "const isHolder = !hasEarlier || [...shard.inSync, ...shard.eligible].every((each) => each === id);",
    replace: "const isHolder = shard.primary === id;",
    run: "cluster",
    withinSeeds: 100,
  },
  {
    name: "answers-before-the-disk-has-it",
    breaks: "Term, vote and entries are durable before any message that depends on them leaves.",
    file: "src/consensus/raft-storage.ts",
    find: "    if (this.#syncedLength === this.#length) return;",
    replace: "    if (this.#length >= 0) return;",
    run: "cluster",
    withinSeeds: 400,
  },
  {
    name: "leads-before-it-has-applied",
    breaks: "A leader decides when it has applied an entry of its own term (SAFETY 14).",
    file: "plugins/raft.ts",
    find: "const isReady = (): boolean => machine()?.leadership?.hasCommittedInTerm === true;",
    replace: "const isReady = (): boolean => machine()?.leadership !== undefined;",
    run: "cluster",
    withinSeeds: 200,
  },
];
