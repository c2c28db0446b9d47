/** What `bun start` hands down to its nodes. That it forms a cluster is in `test/cluster/node-process.test.ts`. */
import { expect, test } from "bun:test";
import { childEnvironment, clusterTable, deathWords, signalFor } from "../../src/cli/start-command.ts";

test("nodes of a local cluster inherit what they can share, and nothing that says who or where one of them is", () => {
  const own = {
    BUNCH_NAME: "x",
    BUNCH_HOST: "10.0.0.1",
    BUNCH_PORT: "1",
    BUNCH_BUS_PORT: "2",
    BUNCH_ANNOUNCE_HOST: "10.0.0.1",
    BUNCH_ANNOUNCE_PORT: "3",
    BUNCH_ANNOUNCE_BUS_HOST: "10.0.0.1",
    BUNCH_ANNOUNCE_BUS_PORT: "4",
    BUNCH_JOIN: "10.0.0.1:5",
    BUNCH_BOOTSTRAP_EXPECT: "7",
    BUNCH_REPLICA_OF: "auto",
    BUNCH_EMPTY: "true",
    BUNCH_WITNESS: "true",
    BUNCH_DATA_DIR: "data",
    BUNCH_SECRET: "known-to-others-as-well",
    BUNCH_SECRET_FILE: "secret.txt",
    BUNCH_TOPOLOGY_NODES: "[]",
    BUNCH_HTTP_PORT: "8",
    BUNCH_HTTP_HOST: "10.0.0.1",
    BUNCH_HTTP_ANNOUNCE_HOST: "10.0.0.1",
    BUNCH_HTTP_ANNOUNCE_PORT: "9",
    BUNCH_TOKEN: "for-all-0123456789abcdef",
  };
  const shared = { PATH: "/bin", BUNCH_PASSWORD: "x", BUNCH_REPLICAS: "1", BUNCH_RESP_MAX_CLIENTS: "10" };
  const drawn = { BUNCH_SECRET: "drawn", BUNCH_HTTP_ADMIN_TOKEN: "a token" };
  expect(childEnvironment({ ...own, ...shared }, "drawn", "a token")).toEqual({ ...shared, ...drawn });
  // Who has given the nodes one has it.
  const given = { BUNCH_HTTP_ADMIN_TOKEN: "theirs" };
  expect(childEnvironment(given, "drawn", "a token")).toEqual({ ...given, BUNCH_SECRET: "drawn" });
});

test("nodes stop in order, unless a signal comes while they do: that nobody reads what they say is none", () => {
  for (const cause of ["signal", "unread", "failed"] as const) expect(signalFor(cause, false)).toBe("SIGTERM");
  expect(signalFor("signal", true)).toBe("SIGKILL");
  expect([signalFor("unread", true), signalFor("failed", true)]).toEqual([undefined, undefined]);
});

test("the table says who is primary of which slots, and who replicates whom, in the order of ports", () => {
  const [a, b, c] = ["a", "b", "c"].map((letter) => letter.repeat(40));
  const told = [
    `${b} 127.0.0.1:7002@17002 myself,slave ${a} 0 0 1 connected`,
    `${c} 127.0.0.1:7003@17003 slave ${"d".repeat(40)} 0 0 1 connected`,
    `${a} 127.0.0.1:7001@17001 master - 0 0 1 connected 0-5460 7000`,
    "",
  ].join("\n");
  const rows = clusterTable(told, new Map([7001, 7002].map((port) => [port, `node-${port - 7000}`])))
    .split("\n")
    .filter((line) => line.includes("700"))
    .map((line) => line.split("\u2502").map((cell) => cell.trim()));
  expect(rows).toEqual([
    ["", "node-1", "7001", "primary", "0-5460 7000", ""],
    ["", "node-2", "7002", "replica of node-1", "", ""],
    ["", "7003", "7003", `replica of ${"d".repeat(40)}`, "", ""],
  ]);
});

test("of a node that has died it is said what that means, and whom to ask what to do", () => {
  expect(deathWords("signal SIGKILL", 0, 7001)).toBe(
    "the node has died (signal SIGKILL); its slots are not served; bun run bunch health --node 127.0.0.1:7001 says what to do",
  );
  expect(deathWords("exit code 1", 1, 7002)).toBe(
    "the node has died (exit code 1); if it was a primary, a replica takes over; bun run bunch health --node 127.0.0.1:7002 says how it is",
  );
  expect(deathWords("exit code 1", 1, undefined)).toBe(
    "the node has died (exit code 1); if it was a primary, a replica takes over",
  );
});
