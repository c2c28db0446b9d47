/**
 * What can be set about membership, with what it costs. The times of a preset fit each other; whoever changes one looks at its neighbours.
 *
 * In all formulas n is the number of members in the cluster map, and `digits(n)` the number of binary digits of n: 2 for 3 nodes, 5 for 20, 7 for 100, 11
 * for 2000. News that each member passes on to a few others has reached all of n after a number of rounds that grows like it.
 */

export interface MembershipOptions {
  /**
   * The protocol period: each node probes one other member in so many milliseconds, (1 + score) times as many while it doubts itself.
   *
   * A dead member is probed by somebody after about one period, whatever n is. Halving it halves that time, and doubles what an idle cluster says:
   * each node sends about 2 * 1000 / probeMs messages a second. 500 in `lan`: four messages a second are about 360 bytes, and a probe has half a second for
   * itself and those that help.
   */
  readonly probeMs: number;
  /**
   * How long a probe waits for a direct answer before others are asked to try, in milliseconds; (1 + score) times as long while the node doubts itself. Whoever
   * tries for another waits as long.
   *
   * Above the 99th percentile of round trips, stops of event loops included. Too low asks others for nothing; too high leaves them no time within the
   * period: at most half of `probeMs`. 150 in `lan`: round trips take a few milliseconds, and stops of 20 to 100 are common on busy machines.
   */
  readonly probeTimeoutMs: number;
  /**
   * How many others are asked to probe a member that did not answer.
   *
   * With loss p each of them fails to bring an answer by 1 - (1 - p)^4: three of them save 0.99 of all probes at p = 0.05, and half of them at p = 0.3. Each
   * costs four messages, and only when a direct probe failed. More than three help little more.
   */
  readonly indirectProbes: number;
  /**
   * How often news is passed on, in milliseconds, while there is some: news reaches all in about digits(n) / 2 times this. Nothing is sent when there
   * is none. Raising it saves datagrams (more news goes into each), and makes suspicions last longer. 100 in `lan`: far above a round trip, and 2000 nodes
   * know of something in half a second.
   */
  readonly gossipMs: number;
  /**
   * To how many members news goes each time. More makes it faster (by the logarithm), at that many times the datagrams. 3, as gossip is fast enough with it;
   * 4 in `wan`, where each round is slow.
   */
  readonly gossipFanout: number;
  /**
   * Each member passes each piece of news on retransmitMultiplier * digits(n) times, pings and pongs included, and then no more.
   *
   * Raising it makes up for loss: with p lost, everybody gets it (1 - p) * retransmitMultiplier * digits(n) times on average. News costs so many times its
   * own size, on each node. 2: with 30 % lost 100 members still get each piece about ten times.
   */
  readonly retransmitMultiplier: number;
  /**
   * A suspect has at least suspicionMultiplier * digits(n) * gossipMs milliseconds to disprove it: the way of the suspicion to it, and of its answer to all,
   * is about one time digits(n) * gossipMs. Raising it forgives longer stops and more loss, and finds deaths so much later. 3 in `lan`: no false death in
   * simulations with 30 % lost, and of 20 nodes a death is known to all in less than three seconds.
   */
  readonly suspicionMultiplier: number;
  /**
   * A suspect has suspicionMaxMultiplier times that at first; each member that finds the same by itself halves what is above the least. So one node that is
   * cut off, or slow, is slow to be believed, and a death that all see is not. 4: where nobody can confirm a death it is believed after a few seconds all
   * the same.
   */
  readonly suspicionMaxMultiplier: number;
  /**
   * After so many independent confirmations a suspect has the least time. About four times as many others probe a suspect at once when they hear of it: each
   * of them by chance, 4 * confirmations / n. Raising it makes false alarms rarer in clusters with many bad nodes. 2: three nodes that find the same by
   * themselves are rarely all wrong.
   */
  readonly confirmations: number;
  /**
   * The highest score of doubt: a node that fails probes, or stops, takes up to 1 + maxScore times as long for its own. Raising it makes bad nodes accuse
   * less, and clusters with much loss find deaths later. 8, as Lifeguard's authors measured it to be enough.
   */
  readonly maxScore: number;
  /**
   * How often two members compare all that they hold, in milliseconds: 30 bytes if they hold the same, else about 25 bytes for each member. It mends
   * what gossip missed; after a partition the first message between both sides starts one anyway. 30 seconds in `lan`, since gossip misses little.
   */
  readonly pushPullMs: number;
  /**
   * How often one of the members that are down is tried, in milliseconds: how soon any one node notices that a partition has ended. One message each time. 5
   * seconds in `lan`: of n nodes the first one tries after 5 / n.
   */
  readonly retryDownMs: number;
}

export const MEMBERSHIP_PRESETS = {
  /** All nodes on one machine: round trips under a millisecond; stops of event loops are what there is to forgive. */
  local: {
    probeMs: 250,
    probeTimeoutMs: 80,
    indirectProbes: 3,
    gossipMs: 50,
    gossipFanout: 3,
    retransmitMultiplier: 2,
    suspicionMultiplier: 4,
    suspicionMaxMultiplier: 4,
    confirmations: 2,
    maxScore: 8,
    pushPullMs: 15_000,
    retryDownMs: 2000,
  },
  /** One data centre or region, round trips of a few milliseconds. Of 20 nodes a dead one is seen by all within 3 seconds. */
  lan: {
    probeMs: 500,
    probeTimeoutMs: 150,
    indirectProbes: 3,
    gossipMs: 100,
    gossipFanout: 3,
    retransmitMultiplier: 2,
    suspicionMultiplier: 3,
    suspicionMaxMultiplier: 4,
    confirmations: 2,
    maxScore: 8,
    pushPullMs: 30_000,
    retryDownMs: 5000,
  },
  /** Several regions: round trips of up to 300 milliseconds, and more loss. */
  wan: {
    probeMs: 2000,
    probeTimeoutMs: 800,
    indirectProbes: 3,
    gossipMs: 300,
    gossipFanout: 4,
    retransmitMultiplier: 3,
    suspicionMultiplier: 6,
    suspicionMaxMultiplier: 4,
    confirmations: 2,
    maxScore: 8,
    pushPullMs: 60_000,
    retryDownMs: 10_000,
  },
} as const satisfies Readonly<Record<string, MembershipOptions>>;

/** Binary digits of a count: how many rounds of gossip reach so many, about. At least 1. */
export function digits(count: number): number {
  return Math.max(1, 32 - Math.clz32(count));
}

/** How often a member passes on one piece of news. */
export function retransmitLimit(options: MembershipOptions, members: number): number {
  return options.retransmitMultiplier * digits(members);
}

/** The least time that a suspect has, in milliseconds. */
export function leastSuspicionMs(options: MembershipOptions, members: number): number {
  return options.suspicionMultiplier * digits(members) * options.gossipMs;
}
