/**
 * What to do about slots that nobody serves: the commands that work in the case at hand, and what is lost by each. Pure.
 *
 * Keys are in memory alone. So there are three ways for a shard whose primary is gone, and this says which of them are open:
 * 1. Somebody who holds every acknowledged write is still there, or its process still runs: nothing is lost. A replica in sync takes over by itself.
 * 2. Somebody holds a part: CLUSTER ACCEPT-LOSS has it go on with that.
 * 3. Nobody holds anything: the primary is started again, and its slots are empty; or they are given up, and another primary has them, empty as well.
 */
import { formatSlotRange } from "../slot-ranges.ts";
import { SHOWN } from "./limits.ts";
import type { SlotFacts, UnservedShard } from "./types.ts";
import { listed } from "./words.ts";

type Slots = SlotFacts["free"];

/** As CLUSTER ADDSLOTSRANGE and DELSLOTSRANGE want them. */
function argumentsOf(slots: Slots): string {
  if (slots.length > SHOWN) return "with all of them (bunch slots lists them)";
  return slots.map(({ first, last }) => `${first} ${last}`).join(" ");
}

/** The beginning of a command line that asks the primary which can take slots in. */
function askingHelper({ helper }: SlotFacts): string {
  return helper === undefined ? "at a primary that is there:" : `redis-cli -h ${helper.host} -p ${helper.port}`;
}

function givenUp(shard: UnservedShard, facts: SlotFacts): string {
  const { slots, primary, others } = shard;
  const gone = others.filter(({ isThere }) => !isThere).map(({ id }) => `CLUSTER FORGET ${id}`);
  const steps = [
    `CLUSTER DELSLOTSRANGE ${argumentsOf(slots)}`,
    `CLUSTER FORGET ${primary.id}`,
    ...gone,
    `CLUSTER ADDSLOTSRANGE ${argumentsOf(slots)}`,
  ];
  const taker = facts.helper === undefined ? "it" : facts.helper.name;
  return `give its slots up, ${askingHelper(facts)} ${steps.join(", then ")}: ${taker} has them, empty`;
}

const AS_IT_WAS =
  "start it again as it was (the same --data-dir or --name, --join and secret; nodes of bun start cannot be started one by one)";

function adviceOn(shard: UnservedShard, facts: SlotFacts): string {
  const { id, slots, primary, trouble, others } = shard;
  const { name } = primary;
  const about = `${listed(slots.map(formatSlotRange))}:`;
  if (trouble === "lease")
    return `${about} ${name} is there, and has no lease from the leader: see the checks quorum and members, and whether it reaches the leader's bus port.`;
  if (trouble === "new") return `${about} start ${name}, which has not been there yet; or ${givenUp(shard, facts)}.`;
  const holders = others.filter(({ isHolder }) => isHolder);
  const heirs = holders.filter(({ isThere }) => isThere).map((each) => each.name);
  if (heirs.length > 0)
    return `${about} ${listed(heirs)} ${heirs.length === 1 ? "holds" : "hold"} every acknowledged write, and takes over by itself within seconds, once the lease of ${name} is over. If not: bunch explain shard ${id} says what stands in the way.`;
  const survivors = others.filter(({ isThere }) => isThere).map((each) => each.name);
  const accept = `CLUSTER ACCEPT-LOSS ${id}, at any node,`;
  const last = [...(trouble === "gone" ? [name] : []), ...holders.map((each) => each.name)];
  const saved =
    last.length === 0
      ? `nobody holds all of what ${name} held any more:`
      : `${listed(last, " and ")} alone ${last.length === 1 ? "holds" : "hold"} all of these keys. If the process still runs, and only hangs or is cut off, get it back: nothing is lost. If it has ended, they are lost, for they were in memory alone; then`;
  if (survivors.length > 0) return `${about} ${saved} ${accept} has ${listed(survivors)} go on: what it lacks is lost.`;
  if (trouble === "empty") return `${about} ${saved} ${accept} has ${name} begin with nothing.`;
  const begun = others.length === 0 ? "it has its slots again, empty" : `then ${accept} has it begin with nothing`;
  return `${about} ${saved} either ${AS_IT_WAS}: ${begun}; or ${givenUp(shard, facts)}.`;
}

/** What to do, in sentences. */
export function adviceOnSlots(facts: SlotFacts): string {
  const { free, unserved, released, canChange } = facts;
  const parts = [
    ...(canChange
      ? []
      : ["First see the check quorum: while no majority of the voters agrees, nothing of this can be done."]),
    ...unserved.slice(0, SHOWN).map((shard) => adviceOn(shard, facts)),
    ...(unserved.length > SHOWN ? ["The same for the others."] : []),
    ...(free.length === 0
      ? []
      : [
          `Slots that are nobody's hold nothing: ${askingHelper(facts)} CLUSTER ADDSLOTSRANGE ${argumentsOf(free)} gives them to ${facts.helper?.name ?? "it"}.`,
        ]),
    ...released.map(
      ({ node, id }) => `Get ${node} back: it may still serve what it had. If it has ended: CLUSTER FORGET ${id}.`,
    ),
  ];
  return parts.join(" ");
}
