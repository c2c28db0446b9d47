/** Which of Raft's times go together. */
import { StartError } from "../errors.ts";

export interface RaftTimes {
  readonly tickMs: number;
  readonly heartbeatMs: number;
  readonly electionMs: number;
}

/** @throws {StartError} If a leader that is well would be taken for lost, again and again. */
export function checkTimes({ tickMs, heartbeatMs, electionMs }: RaftTimes): void {
  const refuse = (name: string, ms: number, wants: string): never => {
    throw new StartError(`Setting "plugins.raft.${name}" is ${ms}, but it must be at most ${wants}.`);
  };
  if (heartbeatMs > electionMs / 2) {
    refuse("heartbeatMs", heartbeatMs, `half of electionMs (${electionMs}): one heartbeat may be lost`);
  }
  if (tickMs > heartbeatMs) refuse("tickMs", tickMs, `heartbeatMs (${heartbeatMs}), which is counted in it`);
}
