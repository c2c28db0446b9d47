/** Raft's settings, and which of them make sense, each and together. */
import { type Static, Type } from "@sinclair/typebox";
import { StartError } from "../errors.ts";

export const raftSettings = Type.Object({
  tickMs: Type.Integer({
    description:
      "The grain of Raft's time, in milliseconds, at most heartbeatMs. Heartbeats and elections are counted in it; a finer one wakes nodes more often while no leader is heard.",
    default: 50,
    minimum: 1,
  }),
  heartbeatMs: Type.Integer({
    description: "How often a leader tells that it leads, in milliseconds. At most half of electionMs.",
    default: 100,
    minimum: 1,
  }),
  electionMs: Type.Integer({
    description:
      "After how long without a leader a voter stands for election: drawn between this and twice as much, in milliseconds. Shorter finds a new leader sooner, and takes a slow one for dead sooner.",
    default: 500,
    minimum: 10,
  }),
  maxVoters: Type.Integer({
    description:
      "How many members vote at most: 1, 3 or 5. Three go on without any one of them, five without any two, at the price of more messages for each change.",
    default: 3,
    minimum: 1,
    maximum: 5,
  }),
  replaceAfterMs: Type.Integer({
    description:
      "A voter that has not been heard for so long is replaced by another member, if there is one, in milliseconds.",
    default: 60_000,
    minimum: 1000,
  }),
  snapshotBytes: Type.Integer({
    description: "Bytes of log after which a snapshot takes its place.",
    default: 1024 * 1024,
    minimum: 1024,
  }),
  snapshotMs: Type.Integer({
    description: "A log that has grown at all is put into a snapshot after so long, in milliseconds.",
    default: 3_600_000,
    minimum: 1000,
  }),
  requestMs: Type.Integer({
    description:
      "How long a change of the cluster map may take before it is answered as refused or unknown, in milliseconds.",
    default: 5000,
    minimum: 10,
  }),
});

export type RaftSettings = Pick<Static<typeof raftSettings>, "tickMs" | "heartbeatMs" | "electionMs" | "maxVoters">;

/**
 * @throws {StartError} If a leader that is well would be taken for lost, again and again; or if an even number is to vote, which can spare no more members than
 *   the odd number below it.
 */
export function checkSettings({ tickMs, heartbeatMs, electionMs, maxVoters }: RaftSettings): void {
  const refuse = (name: string, value: number, wants: string): never => {
    throw new StartError(`Setting "plugins.raft.${name}" is ${value}, but it must be ${wants}.`);
  };
  if (heartbeatMs > electionMs / 2) {
    refuse("heartbeatMs", heartbeatMs, `at most half of electionMs (${electionMs}): one heartbeat may be lost`);
  }
  if (tickMs > heartbeatMs) refuse("tickMs", tickMs, `at most heartbeatMs (${heartbeatMs}), which is counted in it`);
  if (maxVoters % 2 === 0) {
    refuse("maxVoters", maxVoters, `1, 3 or 5: ${maxVoters} voters can spare no more than ${maxVoters - 1} can`);
  }
}
