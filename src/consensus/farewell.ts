/** How a member stops so that the others hardly notice. */
import type { Raft } from "../protocol/raft/machine.ts";
import type { PeerId } from "../protocol/raft/types.ts";
import type { Clock } from "../world.ts";
import { within } from "./within.ts";

/** How long a node that stops waits for others to go on without it. */
const FAREWELL_MS = 1000;
const FAREWELL_STEP_MS = 10;

/** What a member can do about it. */
interface Leaver {
  readonly peer: PeerId;
  /** It will have forgotten everything when it starts again. */
  readonly forgets: boolean;
  /** How long another has not been heard, in milliseconds. */
  silentMs(id: PeerId): number;
  transfer(to: PeerId): void;
  /** Asks the leader to be taken out. One that has done it says so when it is asked again: the group has nothing more to say to who is out. */
  askToLeave(leader: PeerId): void;
  /** It has heard that it is out. */
  isLetGo(): boolean;
}

/**
 * 1. Somebody else leads.
 * 2. A voter that forgets everything stops being one, so that the rest need not wait for it.
 *
 * @returns When that is done, or has taken too long.
 */
export async function sayFarewell(raft: Raft, clock: Clock, leaver: Leaver): Promise<void> {
  if (!raft.isVoter || raft.voters.length === 1) return;
  const [heir] = raft.voters
    .filter((id) => id !== leaver.peer)
    .toSorted((a, b) => leaver.silentMs(a) - leaver.silentMs(b));
  if (raft.role === "leader" && heir !== undefined) {
    leaver.transfer(heir);
    await within(clock, FAREWELL_MS, FAREWELL_STEP_MS, () => raft.role !== "leader" && raft.leader !== undefined);
  }
  if (!leaver.forgets || raft.leader === undefined) return;
  await within(
    clock,
    FAREWELL_MS,
    FAREWELL_STEP_MS,
    () => !raft.isVoter || leaver.isLetGo(),
    () => {
      const { leader } = raft;
      if (leader !== undefined && leader !== leaver.peer) leaver.askToLeave(leader);
    },
  );
}
