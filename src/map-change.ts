/** Commands that ask for a change of the cluster map: who wants it, and the reply once it is settled. */
import type { Call } from "./call.ts";
import type { RequestOutcome } from "./contracts/consensus.ts";
import type { NodeContext } from "./plugin.ts";

/** What a change came to. */
export interface Settled {
  /** Why it was not made, or that nobody knows. */
  readonly error?: string;
  /** Of one that was made: the map's words for it. */
  readonly words?: readonly string[];
}

/** Who wants a change, for those who ask later how it came about. */
export function causeOf({ client, command }: Call): string {
  return `${command.fullName.toUpperCase().replace("|", " ")} from ${client.transport.remoteAddress}`;
}

/** What an outcome is to the client that asked. */
export function settledOf(outcome: RequestOutcome<readonly string[]>): Settled {
  switch (outcome.type) {
    case "done":
      return { words: outcome.outcome };
    case "rejected":
      return { error: outcome.reason };
    case "refused":
      return { error: `CLUSTERDOWN The change was not made: ${outcome.reason}` };
    case "unknown":
      return { error: `UNKNOWN The change may or may not have been made: ${outcome.reason}` };
    default:
      return outcome satisfies never;
  }
}

/** Defers the reply until it is settled. @param answer What is answered instead of OK. */
export function answerAfter(
  context: NodeContext,
  call: Call,
  settled: Promise<Settled>,
  answer: (words: readonly string[]) => string = () => "OK",
): void {
  const deferred = call.defer();
  settled.then(
    ({ error, words = [] }) =>
      deferred.resolve((reply) => {
        if (error === undefined) reply.simple(answer(words));
        else reply.error(error);
      }),
    (thrown: unknown) => context.fault(thrown),
  );
}
