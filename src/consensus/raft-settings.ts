/** Which of Raft's settings make sense, each and together. */
import { StartError } from "../errors.ts";

export interface RaftSettings {
  readonly tickMs: number;
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly maxVoters: number;
}

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
