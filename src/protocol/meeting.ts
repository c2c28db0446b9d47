/** Which of two clusters becomes part of the other when they meet. Pure, and the same seen from both sides. */

/** What a node says of the cluster that it is in. */
export interface ClusterStanding {
  /** Empty: it belongs to none. */
  readonly clusterId: string;
  readonly nodeCount: number;
  /** It holds no keys. */
  readonly isKeyless: boolean;
  /** It is about to be part of another cluster. */
  readonly isSealed: boolean;
  /** Its cluster has taken it out. */
  readonly isOut: boolean;
}

export type MeetingStep =
  /** They are one cluster already. */
  | { readonly type: "met" }
  /** This node becomes part of the other's cluster. */
  | { readonly type: "join" }
  /** The other becomes part of this one's. */
  | { readonly type: "invite" }
  /** One of them is on its way elsewhere: look again. */
  | { readonly type: "wait" }
  | { readonly type: "refuse"; readonly reason: string };

/**
 * The node that belongs to no cluster joins the other's; so does the one that is a cluster by itself, if the other is in a larger one. Of two that are
 * alone, the one with the higher id joins: that depends on neither who asks nor when, so that no circle of nodes can wait for each other.
 */
export function meetingStep(self: ClusterStanding, other: ClusterStanding): MeetingStep {
  const isLost = ({ clusterId, isOut }: ClusterStanding): boolean => clusterId === "" || isOut;
  if (isLost(self) && isLost(other)) return { type: "wait" };
  if (!self.isOut && !other.isOut && self.clusterId === other.clusterId) return { type: "met" };
  if (self.isSealed || other.isSealed) return { type: "wait" };
  if (isLost(self)) return { type: "join" };
  if (isLost(other)) return { type: "invite" };
  if (self.nodeCount > 1 && other.nodeCount > 1) {
    return {
      type: "refuse",
      reason: `two clusters of several nodes do not become one (${self.nodeCount} nodes in ${self.clusterId}, ${other.nodeCount} in ${other.clusterId}); CLUSTER RESET takes a node out of its own`,
    };
  }
  if (other.nodeCount > 1) return { type: "join" };
  if (self.nodeCount > 1) return { type: "invite" };
  return { type: self.clusterId < other.clusterId ? "invite" : "join" };
}
