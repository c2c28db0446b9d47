/** What a change makes of a configuration: of one member, or of learners that come (dissertation, section 4.1). Pure. */
import type { Configuration, ConfigurationChange, Member, PeerId, Refusal } from "./types.ts";

/**
 * @param leader Who leads: it takes itself out only after it has handed over.
 * @param isCaughtUp Whether a learner has nearly all of the log. A voter without it would hold up commitment until it has it.
 * @returns The members after the change, or why there is none.
 */
export function changeMembers(
  { members }: Configuration,
  change: ConfigurationChange,
  leader: PeerId,
  isCaughtUp: (id: PeerId) => boolean,
): readonly Member[] | Refusal {
  if (change.type === "add-learners") {
    const all = new Map(members.map((member) => [member.id, member]));
    for (const member of change.members) {
      if (!all.has(member.id)) all.set(member.id, { ...member, isVoter: false });
    }
    return all.size > members.length ? [...all.values()] : "no-change";
  }
  const id = "member" in change ? change.member.id : change.id;
  const known = members.find((member) => member.id === id);
  if (known === undefined) return "unknown-member";
  const replaced = (by: Member): readonly Member[] => members.map((member) => (member.id === id ? by : member));
  switch (change.type) {
    case "update":
      return replaced({ ...change.member, isVoter: known.isVoter });
    case "promote":
      if (known.isVoter) return "no-change";
      return isCaughtUp(id) ? replaced({ ...known, isVoter: true }) : "not-caught-up";
    case "demote":
      if (!known.isVoter) return "no-change";
      return id === leader ? "is-leader" : replaced({ ...known, isVoter: false });
    case "remove":
      return id === leader ? "is-leader" : members.filter((member) => member.id !== id);
    default:
      return change satisfies never;
  }
}
