/** The proof with which a link begins: who gets one, who does not and is told what, and that nothing of an earlier one is of any use. */
import { describe, expect, test } from "bun:test";
import { present } from "../../src/assert.ts";
import {
  type Hello,
  type LinkKind,
  encodeAnswerBody,
  encodeHandshake,
  readHandshake,
} from "../../src/codec/link-codec.ts";
import { proofOf } from "../../src/codec/proof.ts";
import {
  type AnswerVerdict,
  type HelloVerdict,
  LinkOpener,
  type LinkSelf,
  LinkTaker,
} from "../../src/protocol/link/handshake.ts";
import { ClusterSecrets, parseSecrets } from "../../src/protocol/link/secrets.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const OLD = "the-old-secret";
const NEW = "the-new-secret";

function node(nodeId: string, changes: Partial<LinkSelf> & { readonly secrets?: readonly string[] } = {}): LinkSelf {
  const { secrets = [OLD], ...rest } = changes;
  return { nodeId, host: "10.0.0.1", port: 7, clusterId: "c", keys: new ClusterSecrets(secrets).keys, ...rest };
}

/** Another one each time, as the world's are. */
class Nonces {
  #last = 0;
  next(): Uint8Array {
    this.#last += 1;
    return new Uint8Array(32).fill(this.#last);
  }
}

/** Carries messages from one side to the other, until there is a link or not. @param change What a stranger in between makes of a message. */
function meet(
  one: LinkSelf,
  other: LinkSelf,
  kind: LinkKind = "member",
  change: (message: Uint8Array, number: number) => Uint8Array = (message) => message,
) {
  const nonces = new Nonces();
  const opener = new LinkOpener(one, kind, nonces.next());
  const taker = new LinkTaker(other, nonces.next());
  const greeted = taker.greeted(change(opener.hello, 1));
  const reply = greeted.type === "answer" ? greeted.answer : greeted.refusal;
  const answered = reply === undefined ? undefined : opener.answered(change(reply, 2));
  const proved = answered?.type === "proved" ? taker.proved(change(answered.proof, 3)) : undefined;
  return { opener, taker, greeted, answered, proved };
}

/** What each side makes of it: why it refuses, or that it has a link. */
function outcome(result: ReturnType<typeof meet>): readonly [opener: string | undefined, taker: string] {
  const { greeted, answered, proved } = result;
  const taken = greeted.type === "refused" ? greeted.reason : proved?.type === "refused" ? proved.reason : proved?.type;
  return [answered?.type === "refused" ? answered.reason : answered?.type, taken ?? "waits"];
}

/** What a side says of its refusal. */
function textOf(verdict: HelloVerdict | AnswerVerdict | undefined): string {
  return verdict?.type === "refused" ? verdict.text : "";
}

describe("two nodes of one secret and one cluster", () => {
  for (const kind of ["member", "meeting"] as const) {
    test(`have a ${kind} link: each knows the other, and both the same key`, () => {
      const { answered, proved } = meet(node(A), node(B), kind);
      expect(answered).toMatchObject({ type: "proved", nodeId: B });
      const clusterId = kind === "member" ? "c" : "";
      expect(proved).toMatchObject({
        type: "proved",
        peer: { nodeId: A, kind, host: "10.0.0.1", port: 7, clusterId },
      });
      if (answered?.type !== "proved" || proved?.type !== "proved") throw new Error("both have proved themselves");
      expect(answered.linkKey).toEqual(proved.linkKey);
      expect(meet(node(A), node(B, { secrets: [OLD, NEW] }), kind).answered).toMatchObject({ type: "proved" });
    });
  }

  test("have no key where there is no secret: whoever saw the handshake would have it", () => {
    const { answered, proved } = meet(node(A, { secrets: [] }), node(B, { secrets: [] }));
    expect(answered).toMatchObject({ type: "proved", nodeId: B, linkKey: undefined });
    expect(proved).toMatchObject({ type: "proved", linkKey: undefined });
    // While a secret is brought in, one side may use the empty one and the other have both.
    expect(meet(node(A, { secrets: [] }), node(B, { secrets: [NEW, ""] })).answered).toMatchObject({
      type: "proved",
      linkKey: undefined,
    });
  });

  test("have another key for each link, although they say the same", () => {
    const [one, other] = [meet(node(A), node(B)), meet(node(B), node(A))].map(({ answered }) => answered);
    if (one?.type !== "proved" || other?.type !== "proved") throw new Error("both links are there");
    expect(one.linkKey).not.toEqual(other.linkKey);
  });
});

describe("a link is refused on both sides, each of which says why,", () => {
  const versions = (oldest: number, newest: number) => (message: Uint8Array, number: number) => {
    const hello = readHandshake(message);
    return number === 1 && hello?.type === "hello"
      ? encodeHandshake({ ...hello, versions: { oldest, newest } })
      : message;
  };
  for (const [what, one, other, kind, opener, taker] of [
    [
      "of another secret",
      node(A),
      node(B, { secrets: [NEW] }),
      "member",
      "it does not know this node's cluster secret",
      `node ${A} has another cluster secret`,
    ],
    [
      "of another secret, to meet",
      node(A),
      node(B, { secrets: [NEW] }),
      "meeting",
      "it does not know this node's cluster secret",
      `node ${A} has another cluster secret`,
    ],
    [
      "of a secret, to one without",
      node(A),
      node(B, { secrets: [] }),
      "member",
      "it does not know this node's cluster secret",
      `node ${A} has another cluster secret`,
    ],
    [
      "of none, to one with a secret",
      node(A, { secrets: [] }),
      node(B),
      "member",
      "it does not know this node's cluster secret",
      `node ${A} has another cluster secret`,
    ],
    [
      "of another cluster",
      node(A),
      node(B, { clusterId: "d" }),
      "member",
      "it is in cluster d, and this one in c",
      `node ${A} is in cluster c, and this one in d`,
    ],
    [
      "to a node in no cluster",
      node(A),
      node(B, { clusterId: undefined }),
      "member",
      "it is not in a cluster yet",
      `node ${A} is in cluster c, and this one in none yet`,
    ],
    [
      "of a node in no cluster",
      node(A, { clusterId: undefined }),
      node(B),
      "member",
      "it is in cluster c, and this one in none",
      `node ${A} is in cluster none, and this one in c`,
    ],
    ["of a node to itself", node(A), node(A), "member", "it has this node's id", "it has this node's id"],
  ] as const) {
    test(what, () => {
      const result = meet(one, other, kind);
      expect(textOf(result.greeted)).toContain(taker);
      expect(textOf(result.answered)).toContain(opener);
      expect(result.proved).toBeUndefined();
      for (const each of [result.greeted, result.answered]) {
        expect(JSON.stringify(each)).not.toContain(OLD);
        expect(JSON.stringify(each)).not.toContain(NEW);
      }
    });
  }

  for (const [what, oldest, newest] of [
    ["later", 2, 5],
    ["earlier", 0, 0],
  ] as const) {
    test(`of ${what} versions alone`, () => {
      const { greeted, answered } = meet(node(A), node(B), "member", versions(oldest, newest));
      expect(greeted).toMatchObject({
        text: `node ${A} speaks versions ${oldest} to ${newest} of the protocol, and this one 1 to 1`,
      });
      expect(answered).toMatchObject({
        reason: "versions",
        text: "it speaks versions 1 to 1 of the protocol, and this one 1 to 1",
      });
    });
  }

  test("and tells cluster and id to nobody who does not know the secret", () => {
    const { greeted } = meet(node(A), node(B, { secrets: [NEW], clusterId: "private" }));
    const refusal = readHandshake(
      greeted.type === "refused" ? present(greeted.refusal, "it is told") : new Uint8Array(0),
    );
    expect(refusal).toEqual({ type: "refusal", reason: "secret", versions: { oldest: 1, newest: 1 }, clusterId: "" });
  });

  test("nodes that meet may be in different clusters, or in none", () => {
    for (const [one, other] of [
      ["c", "d"],
      ["c", undefined],
      [undefined, "c"],
      [undefined, undefined],
    ] as const) {
      expect(outcome(meet(node(A, { clusterId: one }), node(B, { clusterId: other }), "meeting"))).toEqual([
        "proved",
        "proved",
      ]);
    }
  });
});

describe("while the secret is being changed", () => {
  const rings = {
    old: [OLD],
    "old new": [OLD, NEW],
    "new old": [NEW, OLD],
    new: [NEW],
    none: [],
    "none new": ["", NEW],
  };
  for (const [one, secrets] of Object.entries(rings)) {
    for (const [other, others] of Object.entries(rings)) {
      const known = (each: readonly string[]): readonly string[] => (each.length === 0 ? [""] : each);
      const isLinked = known(secrets).some((secret) => known(others).includes(secret));
      test(`a node of "${one}" ${isLinked ? "has a link" : "has no link"} to one of "${other}"`, () => {
        const wanted = isLinked ? ["proved", "proved"] : ["secret", "secret"];
        expect([...outcome(meet(node(A, { secrets }), node(B, { secrets: others })))]).toEqual(wanted);
      });
    }
  }

  test("the secret that the opener uses is taken, where both know both", () => {
    const result = meet(node(A, { secrets: [NEW, OLD] }), node(B, { secrets: [OLD, NEW] }));
    expect(outcome(result)).toEqual(["proved", "proved"]);
    // One that knows the new one alone would have been given the same answer.
    const answer = result.greeted.type === "answer" ? readHandshake(result.greeted.answer) : undefined;
    expect(answer).toMatchObject({ type: "answer", hint: 0 });
  });
});

describe("somebody in between", () => {
  for (const number of [1, 2, 3]) {
    test(`who changes any bit of message ${number} gets nothing`, () => {
      const lengths = [0, 0, 0, 0];
      meet(node(A), node(B), "member", (message, each) => {
        lengths[each] = message.length;
        return message;
      });
      for (let bit = 0; bit < present(lengths[number], "it was sent") * 8; bit += 1) {
        const result = meet(node(A), node(B), "member", (message, each) => {
          if (each !== number) return message;
          const changed = message.slice();
          changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          return changed;
        });
        // The taker delivers nothing; where a hello or an answer was changed, the opener sends nothing either.
        expect(result.proved?.type, `bit ${bit}`).not.toBe("proved");
        if (number < 3) expect(result.answered?.type, `bit ${bit}`).not.toBe("proved");
      }
    });

    test(`who cuts message ${number} anywhere, or adds to it, gets nothing`, () => {
      for (const cut of [
        (message: Uint8Array) => message.length - 1,
        () => 0,
        (message: Uint8Array) => message.length >> 1,
      ]) {
        const result = meet(node(A), node(B), "member", (message, each) =>
          each === number ? message.subarray(0, cut(message)) : message,
        );
        expect(result.proved?.type).not.toBe("proved");
      }
      const result = meet(node(A), node(B), "member", (message, each) =>
        each === number ? Uint8Array.of(...message, 1) : message,
      );
      // What follows a proof or an answer is not looked at, and says nothing; a hello's is proved with the rest of it.
      if (number === 1) expect(outcome(result)).toEqual(["proof", "waits"]);
    });
  }

  test("who says again what one side has said in another handshake is refused", () => {
    const recorded = meet(node(A), node(B));
    if (recorded.greeted.type !== "answer" || recorded.answered?.type !== "proved") throw new Error("it went well");
    const { answer } = recorded.greeted;
    const { proof } = recorded.answered;
    // To B: A's hello and its proof. B's nonce is another one.
    const taker = new LinkTaker(node(B), new Uint8Array(32).fill(99));
    expect(taker.greeted(recorded.opener.hello).type).toBe("answer");
    expect(taker.proved(proof)).toMatchObject({ type: "refused", reason: "proof" });
    // To A: B's answer. A's nonce is another one.
    const opener = new LinkOpener(node(A), "member", new Uint8Array(32).fill(98));
    expect(opener.answered(answer)).toMatchObject({ type: "refused", reason: "proof" });
  });

  test("who gives a node its own words back is refused", () => {
    // Its own hello: the node takes no link of its own.
    const opener = new LinkOpener(node(A), "member", new Uint8Array(32).fill(1));
    const taker = new LinkTaker(node(A), new Uint8Array(32).fill(2));
    expect(taker.greeted(opener.hello)).toMatchObject({ type: "refused", reason: "self" });
    expect(opener.answered(opener.hello)).toMatchObject({ type: "refused", reason: "protocol" });
    // The taker's proof, as the opener's.
    const {
      opener: other,
      taker: waiting,
      greeted,
    } = meet(node(A), node(B), "member", (message, number) => (number === 3 ? new Uint8Array(0) : message));
    const answer = greeted.type === "answer" ? readHandshake(greeted.answer) : undefined;
    if (answer?.type !== "answer") throw new Error("it was answered");
    expect(waiting.proved(encodeHandshake({ type: "proof", proof: answer.proof }))).toMatchObject({ reason: "proof" });
    expect(waiting.proved(other.hello)).toMatchObject({ type: "refused", reason: "protocol" });
  });

  test("who answers in another's name, without the secret, is refused", () => {
    const stranger = new ClusterSecrets(["a-guess-at-it"]).keys;
    const opener = new LinkOpener(node(A), "member", new Uint8Array(32).fill(1));
    const hello = readHandshake(opener.hello) as Hello;
    // It says that it knows the secret which the hello hints at.
    const taker = new LinkTaker({ ...node(B), keys: stranger }, new Uint8Array(32).fill(2));
    const own = new LinkOpener({ ...node(A), keys: stranger }, "member", hello.nonce);
    const greeted = taker.greeted(own.hello);
    if (greeted.type !== "answer") throw new Error("to itself it is right");
    expect(opener.answered(greeted.answer)).toMatchObject({ type: "refused", reason: "proof" });
  });

  test("who knows the secret, and says what no node would, gets nothing either", () => {
    const good = { versions: { oldest: 1, newest: 1 }, nodeId: B, clusterId: "c", nonce: new Uint8Array(32), hint: 0 };
    for (const [what, reason] of [
      [{ nodeId: A }, "self"],
      [{ clusterId: "d" }, "cluster"],
      [{ clusterId: "" }, "cluster"],
      [{ versions: { oldest: 2, newest: 2 } }, "versions"],
      [{ hint: 1 }, "proof"],
      [{}, undefined],
    ] as const) {
      const self = node(A);
      const opener = new LinkOpener(self, "member", new Uint8Array(32).fill(1));
      const body = encodeAnswerBody({ ...good, ...what });
      const proof = proofOf(self.keys[0] ?? new Uint8Array(0), "answer", opener.hello, body);
      const verdict = opener.answered(encodeHandshake({ type: "answer", body, proof }));
      expect(verdict.type === "refused" ? verdict.reason : undefined).toBe(reason);
    }
  });

  test("learns nothing of the secret from hints: they differ each time", () => {
    const hints = [1, 2].map((byte) => {
      const hello = readHandshake(new LinkOpener(node(A), "member", new Uint8Array(32).fill(byte)).hello);
      return hello?.type === "hello" ? hello.hints : [];
    });
    expect(hints[0]).not.toEqual(hints[1]);
  });
});

test("a proof before the hello, and messages out of turn, are another protocol", () => {
  const taker = new LinkTaker(node(B), new Uint8Array(32));
  expect(taker.proved(encodeHandshake({ type: "proof", proof: new Uint8Array(32) }))).toMatchObject({
    reason: "protocol",
    refusal: undefined,
  });
  expect(taker.greeted(encodeHandshake({ type: "proof", proof: new Uint8Array(32) }))).toMatchObject({
    reason: "protocol",
    refusal: undefined,
  });
});

describe("parseSecrets", () => {
  for (const [text, secrets] of [
    ["known-to-all", ["known-to-all"]],
    ["known-to-all\n", ["known-to-all"]],
    ["known-to-all\r\nanother-one\r\n\n", ["known-to-all", "another-one"]],
    ["  known-to-all   another-one ", ["known-to-all", "another-one"]],
    ["-", [""]],
    ["known-to-all -", ["known-to-all", ""]],
    ["x".repeat(256), ["x".repeat(256)]],
  ] as const) {
    test(`reads ${JSON.stringify(text.slice(0, 40))}`, () =>
      expect(parseSecrets(text)).toEqual({ secrets: [...secrets] }));
  }
  for (const [text, problem] of [
    ["", "it is empty"],
    [" \n", "it is empty"],
    ["brief", "secret 1 must be 8 to 256 letters"],
    ["known-to-all brief", "secret 2 must be 8 to 256 letters"],
    ["x".repeat(257), "secret 1 must be"],
    ["geheimnis-für-alle", "secret 1 must be"],
    ["known-to-all known-to-all", "both are the same"],
    ["first-secret second-secret third-secret", "there are 3, and at most 2"],
  ] as const) {
    test(`refuses ${JSON.stringify(text.slice(0, 40))}, and does not repeat it`, () => {
      const parsed = parseSecrets(text);
      expect("problem" in parsed ? parsed.problem : "").toStartWith(problem);
      if (text.trim().length > 3) expect(JSON.stringify(parsed)).not.toContain(text);
    });
  }
});
