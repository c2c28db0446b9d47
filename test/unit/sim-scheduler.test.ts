/** Virtual time: events come in order, processes stall and die, promises are settled before time goes on. */

import { describe, expect, test } from "bun:test";
import { Trace } from "../support/sim-log.ts";
import { SimRandom } from "../support/sim-random.ts";
import { Scheduler, SimProcess } from "../support/sim-scheduler.ts";

const ALL = { untilUs: Infinity, maxEvents: 1_000_000 };

function setup(): { scheduler: Scheduler; process: SimProcess; seen: string[] } {
  return { scheduler: new Scheduler(new Trace()), process: new SimProcess("a"), seen: [] };
}

/** A chain of async functions, one in another, as deep as asked. */
async function deep(levels: number): Promise<void> {
  if (levels > 0) await deep(levels - 1);
}

describe("Scheduler", () => {
  test("runs events in the order of their time, then of their scheduling", async () => {
    const { scheduler, process } = setup();
    const random = new SimRandom(1);
    const ran: [timeUs: number, index: number][] = [];
    const planned: [timeUs: number, index: number][] = [];
    for (let index = 0; index < 2000; index++) {
      const timeUs = random.below(300);
      planned.push([timeUs, index]);
      const event = scheduler.at(timeUs, process, "test", () => {
        expect(scheduler.nowUs).toBe(timeUs);
        ran.push([timeUs, index]);
      });
      if (index % 10 === 0) {
        event.cancel();
        planned.pop();
      }
    }
    expect(await scheduler.run(ALL)).toBe("empty");
    expect(ran).toEqual(planned.toSorted((one, other) => one[0] - other[0] || one[1] - other[1]));
  });

  test("run stops at its time, its number of events, its condition", async () => {
    const { scheduler, process, seen } = setup();
    for (const timeUs of [10, 20, 30, 40]) scheduler.at(timeUs, process, "test", () => void seen.push(`${timeUs}`));
    expect(await scheduler.run({ untilUs: 25, maxEvents: 100 })).toBe("time");
    expect(scheduler.nowUs).toBe(25);
    expect(seen).toEqual(["10", "20"]);
    expect(await scheduler.run({ untilUs: 100, maxEvents: 1 })).toBe("events");
    expect(await scheduler.run({ untilUs: 100, maxEvents: 100, stop: () => seen.length === 4 })).toBe("stopped");
    expect(scheduler.nowUs).toBe(40);
  });

  test("events of a dead process never run", async () => {
    const { scheduler, process, seen } = setup();
    scheduler.at(10, process, "test", () => void seen.push("first"));
    scheduler.at(20, process, "test", () => void seen.push("second"));
    await scheduler.run({ untilUs: 15, maxEvents: 10 });
    process.isAlive = false;
    await scheduler.run(ALL);
    expect(seen).toEqual(["first"]);
  });

  test("a stalled process gets its events late, in order, before what is due then, while others go on", async () => {
    const { scheduler, process, seen } = setup();
    const other = new SimProcess("b");
    process.readyAtUs = 100;
    // The one due last was scheduled first.
    for (const timeUs of [100, 50, 30, 40]) {
      scheduler.at(timeUs, process, "test", () => void seen.push(`${timeUs} at ${scheduler.nowUs}`));
    }
    scheduler.at(45, other, "test", () => void seen.push(`other at ${scheduler.nowUs}`));
    await scheduler.run(ALL);
    expect(seen).toEqual(["other at 45", "30 at 100", "40 at 100", "50 at 100", "100 at 100"]);
  });

  test("a stall that is made longer while it lasts keeps the order too", async () => {
    const { scheduler, process, seen } = setup();
    process.readyAtUs = 100;
    for (const timeUs of [50, 30, 40]) scheduler.at(timeUs, process, "test", () => void seen.push(`${timeUs}`));
    scheduler.at(60, undefined, "test", () => (process.readyAtUs = 200));
    await scheduler.run(ALL);
    expect(seen).toEqual(["30", "40", "50"]);
    expect(scheduler.nowUs).toBe(200);
  });

  test("a stall midway moves the time within the event, and delays the next one", async () => {
    const { scheduler, process, seen } = setup();
    process.callsUntilStall = 2;
    process.stallUs = 500;
    scheduler.at(10, process, "test", () => {
      for (let call = 0; call < 3; call++) {
        scheduler.called(process);
        seen.push(`now ${scheduler.nowFor(process)}`);
      }
    });
    scheduler.at(20, process, "test", () => void seen.push(`next at ${scheduler.nowUs}`));
    await scheduler.run(ALL);
    expect(seen).toEqual(["now 10", "now 510", "now 510", "next at 510"]);
  });

  test("a chain of promises that began with the world ends before the next event, however long it is", async () => {
    const { scheduler, process, seen } = setup();
    scheduler.at(10, process, "test", () => {
      void (async () => {
        await scheduler.promise(process, 20, "test", () => undefined);
        await deep(100);
        seen.push(`chain at ${scheduler.nowUs}`);
      })();
    });
    scheduler.at(21, process, "test", () => void seen.push("next"));
    await scheduler.run(ALL);
    expect(seen).toEqual(["chain at 20", "next"]);
  });

  test("a chain of promises that calls the world on its way ends before the next event", async () => {
    const { scheduler, process, seen } = setup();
    scheduler.at(10, process, "test", () => {
      void (async () => {
        await deep(2);
        scheduler.called(process);
        await deep(100);
        seen.push("chain");
      })();
    });
    scheduler.at(11, process, "test", () => void seen.push("next"));
    await scheduler.run(ALL);
    expect(seen).toEqual(["chain", "next"]);
  });

  test("promise rejects with what its work throws", async () => {
    const { scheduler, process, seen } = setup();
    const promise = scheduler.promise(process, 10, "test", () => {
      throw new TypeError("no");
    });
    promise.catch((error: unknown) => void seen.push(String(error)));
    await scheduler.run(ALL);
    expect(seen).toEqual(["TypeError: no"]);
  });

  test("promises of a dead process are never settled", async () => {
    const { scheduler, process, seen } = setup();
    void scheduler.promise(process, 10, "test", () => undefined).then(() => seen.push("settled"));
    process.isAlive = false;
    await scheduler.run(ALL);
    expect(seen).toEqual([]);
  });
});
