/** What `bun start` hands down to its nodes. That it forms a cluster is in `test/cluster/node-process.test.ts`. */
import { expect, test } from "bun:test";
import { childEnvironment, signalFor } from "../../src/cli/start-command.ts";

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
    BUNCH_EMPTY: "true",
    BUNCH_WITNESS: "true",
    BUNCH_DATA_DIR: "data",
    BUNCH_SECRET: "known-to-others-as-well",
    BUNCH_SECRET_FILE: "secret.txt",
    BUNCH_TOPOLOGY_NODES: "[]",
  };
  const shared = { PATH: "/bin", BUNCH_PASSWORD: "x", BUNCH_REPLICAS: "1", BUNCH_RESP_MAX_CLIENTS: "10" };
  expect(childEnvironment({ ...own, ...shared }, "drawn")).toEqual({ ...shared, BUNCH_SECRET: "drawn" });
});

test("nodes stop in order, unless a signal comes while they do: that nobody reads what they say is none", () => {
  for (const cause of ["signal", "unread", "failed"] as const) expect(signalFor(cause, false)).toBe("SIGTERM");
  expect(signalFor("signal", true)).toBe("SIGKILL");
  expect([signalFor("unread", true), signalFor("failed", true)]).toEqual([undefined, undefined]);
});
