/** `bunch health`: what several nodes say, put together, and how it is shown. */
import { describe, expect, test } from "bun:test";
import { stripVTControlCharacters } from "node:util";
import { describeHealth, pictureOf, pictureOfView } from "../../src/cli/health-command.ts";
import { type NodeHealth, linesOf, stateOf } from "../../src/health/cluster-health.ts";
import type { HealthCheck, HealthCheckName, HealthState } from "../../src/contracts/health.ts";
import { CHECKS, wordsOf } from "../../src/protocol/health/catalog.ts";
import { worstOf } from "../../src/protocol/health/types.ts";
import type { HealthView, NodeView } from "../../src/rest/schemas.ts";
import { checkView } from "../../src/rest/views.ts";

const NOW_MS = 1_800_000_000_000;

function check(name: HealthCheckName, state: HealthState, summary = `${name} is ${state}`): HealthCheck {
  const { scope } = CHECKS[name];
  return { name, scope, state, sinceMs: NOW_MS - 65_000, summary, ...wordsOf(name, state), values: {} };
}

function node(nodeName: string, isLeader: boolean, ...checks: readonly HealthCheck[]): NodeHealth {
  const state = worstOf(checks.map((each) => each.state));
  return { state, nodeId: nodeName.repeat(40), nodeName, isLeader, leader: undefined, checkedAtMs: NOW_MS, checks };
}

const shown = (...told: readonly NodeHealth[]): readonly string[] =>
  linesOf({ told, silent: [] }).map(
    ({ check: { name, state }, from, others }) => `${name} ${state}: ${from}${others > 0 ? ` +${others}` : ""}`,
  );

describe("what nodes say together", () => {
  test("of the cluster is the worst that any of them sees: the leader's word, if it is among those", () => {
    expect(
      shown(
        node("a", false, check("slots", "critical"), check("members", "warn"), check("quorum", "ok")),
        node(
          "b",
          true,
          check("slots", "ok"),
          check("members", "warn"),
          check("quorum", "ok"),
          check("balance", "warn"),
        ),
        node("c", false, check("slots", "ok"), check("members", "warn"), check("quorum", "ok")),
      ),
    ).toEqual(["slots critical: a", "members warn: b +2", "quorum ok: b +2", "balance warn: b"]);
  });

  test("of nodes is each that is not well, the worst first; all of them are one line while all is well", () => {
    expect(
      shown(
        node("a", false, check("memory", "warn"), check("disk", "ok")),
        node("b", false, check("memory", "critical"), check("disk", "ok")),
        node("c", false, check("memory", "ok")),
      ),
    ).toEqual(["memory critical: b", "memory warn: a", "disk ok: a +1"]);
    expect(shown(node("a", true, check("memory", "ok")))).toEqual(["memory ok: a"]);
  });

  test("of nodes that are well is what is so of all of them: what one has found of itself is not the others'", () => {
    const summaries = (...told: readonly NodeHealth[]): readonly string[] =>
      linesOf({ told, silent: [] }).map((line) => line.check.summary);
    const a = node(
      "a",
      true,
      check("lag", "ok", "There is no replica of this node."),
      check("members", "ok", "2 nodes."),
    );
    const b = node("b", false, check("lag", "ok", "Replicas are at most 0 ms behind."), check("members", "ok", "2."));
    expect(summaries(a, b)).toEqual([CHECKS.lag.ok, "2 nodes."]);
    expect(summaries(a, a)).toEqual(["There is no replica of this node.", "2 nodes."]);
    expect(summaries(b)).toEqual(["Replicas are at most 0 ms behind.", "2."]);
  });

  test("is worth a warning if one of them does not answer", () => {
    const silent = [{ nodeId: "b".repeat(40), nodeName: "b", reason: "refused" }];
    expect(stateOf({ told: [node("a", true, check("slots", "ok"))], silent: [] })).toBe("ok");
    expect(stateOf({ told: [node("a", true, check("slots", "ok"))], silent })).toBe("warn");
    expect(stateOf({ told: [node("a", true, check("slots", "critical"))], silent })).toBe("critical");
  });
});

test("it is shown with the worst first, wherever that was told", () => {
  const told = [node("a", true, check("members", "warn"), check("quorum", "ok"), check("slots", "critical"))];
  const silent = [{ nodeId: "b".repeat(40), nodeName: "b", reason: "refused" }];
  const rows = stripVTControlCharacters(describeHealth(pictureOf({ told, silent }), NOW_MS)).match(/^│ \w+ +│ \w+/gm);
  expect(rows?.map((row) => row.replaceAll(/[ │]+/g, " ").trim())).toEqual([
    "state check",
    "critical slots",
    "warn members",
    "warn answer",
    "ok quorum",
  ]);
});

test("it is shown with what is wrong first, and what that means and what to do below", () => {
  const text = stripVTControlCharacters(
    describeHealth(
      pictureOf({
        told: [node("a", true, check("quorum", "ok"), check("members", "warn", "1 of 2 nodes: b is down."))],
        silent: [{ nodeId: "b".repeat(40), nodeName: "b", reason: "Cannot ask the node at 10.0.0.2:6379: refused." }],
      }),
      NOW_MS,
    ),
  );
  const rows = text.split("\n").filter((line) => line.startsWith("│"));
  expect(
    rows.map((row) =>
      row
        .split("│")
        .map((cell) => cell.trim())
        .slice(1, -1),
    ),
  ).toEqual([
    ["state", "check", "node", "since", "what"],
    ["warn", "members", "a", "1 min 5 s", "1 of 2 nodes: b is down."],
    ["warn", "answer", "b", "", "Cannot ask the node at 10.0.0.2:6379: refused."],
    ["ok", "quorum", "a", "1 min 5 s", "quorum is ok"],
  ]);
  expect(text).toStartWith("warn: 1 of 2 checks (1 of 2 nodes answered, a leads)\n");
  const { meaning, advice } = wordsOf("members", "warn");
  expect(text).toEndWith(`\nmembers (warn), as a sees it\n  means: ${meaning}\n  do:    ${advice}`);
});

test("what REST tells is shown the same way", () => {
  const told = [
    node("a", true, check("members", "ok"), check("disk", "ok")),
    node("b", false, check("members", "warn"), check("disk", "critical")),
  ];
  const silent = [{ nodeId: "c".repeat(40), nodeName: "c", reason: "node c is down" }];
  const view: HealthView = {
    state: "critical",
    checked_at: NOW_MS,
    node_id: "a".repeat(40),
    leader: "a".repeat(40),
    checks: linesOf({ told, silent }).map(({ check: each, fromId, others }) =>
      Object.assign(checkView(each), { node_id: fromId, others }),
    ),
    asked: 3,
    silent: [{ node_id: "c".repeat(40), reason: "node c is down" }],
  };
  const nodes = ["a", "b", "c"].map((name) => ({ id: name.repeat(40), name }) as NodeView);
  expect(describeHealth(pictureOfView(view, nodes), NOW_MS)).toBe(describeHealth(pictureOf({ told, silent }), NOW_MS));
  // Without a name a node is called by the beginning of its id.
  const nameless = [{ ...node("a", true, check("disk", "warn")), nodeName: "" }];
  const said = stripVTControlCharacters(describeHealth(pictureOf({ told: nameless, silent: [] }), NOW_MS));
  expect(said).toStartWith("warn: 1 of 1 checks (1 of 1 nodes answered, aaaaaaaa leads)");
  expect(said).toContain("│ aaaaaaaa │");
});
