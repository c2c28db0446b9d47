/** `bunch top`: what the nodes of a cluster do at this moment, over and over, until q or Ctrl-C. */
import { Command, Option } from "commander";
import { StartError, messageOf } from "../errors.ts";
import { RestAccess, withRest } from "./rest-access.ts";
import { type JsonFlags, sayUnknown, untilInterrupted } from "./rest-command.ts";
import { cut } from "./task-board.ts";
import { type Snapshot, TOP_ORDERS, type TopOrder, describeTop, takeSnapshot, topLines } from "./top-view.ts";
import { pause } from "./pause.ts";
import { jsonText } from "./terminal.ts";

interface TopFlags extends JsonFlags {
  readonly interval: string;
  readonly count?: string;
  readonly sort: TopOrder;
}

const ESCAPE = "\u001B";
/** Another page of the terminal without a cursor, so that what was there comes back afterwards. */
const ENTER = `${ESCAPE}[?1049h${ESCAPE}[?25l`;
const LEAVE = `${ESCAPE}[?25h${ESCAPE}[?1049l`;
const HOME = `${ESCAPE}[H`;
const CLEAR_LINE = `${ESCAPE}[K`;
const CLEAR_BELOW = `${ESCAPE}[J`;
const CTRL_C = "\u0003";

/** A terminal that is drawn over. */
export interface TopScreen {
  readonly columns: number;
  readonly rows: number;
  write(text: string): void;
}

/** Draws a picture in place: as many lines as there is room for, none of them wrapped; the last one says how it ends. */
export function draw(screen: TopScreen, picture: string): void {
  const lines = picture.split("\n");
  const room = Math.max(1, screen.rows - 2);
  const more = lines.length > room ? `, ${lines.length - room} lines more than there is room for` : "";
  const shown = [...lines.slice(0, room), `q ends${more}`];
  screen.write(`${HOME}${shown.map((line) => `${cut(line, screen.columns)}${CLEAR_LINE}\n`).join("")}${CLEAR_BELOW}`);
}

function positive(text: string, flag: string, isWhole: boolean): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0 && value <= 86_400 && (!isWhole || Number.isInteger(value))) return value;
  throw new StartError(`--${flag} is "${text}", but it must be a ${isWhole ? "whole number" : "number"} above 0.`);
}

/** Shows one picture after the other. @param show Gets each, or why there is none at this moment. */
async function run(
  flags: TopFlags,
  signal: AbortSignal,
  show: (picture: { readonly now: Snapshot; readonly before: Snapshot | undefined } | string) => void,
  isLive: boolean,
): Promise<void> {
  const intervalMs = 1000 * positive(flags.interval, "interval", false);
  const count = flags.count === undefined ? Number.POSITIVE_INFINITY : positive(flags.count, "count", true);
  const access = new RestAccess(flags);
  const patienceMs = Math.max(1000, Math.min(intervalMs, 5000));
  let before: Snapshot | undefined = await takeSnapshot(access, patienceMs);
  // Rates need two: a terminal is not left empty meanwhile.
  if (isLive) show({ now: before, before: undefined });
  for (let shown = 0; shown < count && !signal.aborted; shown += 1) {
    await pause(intervalMs, signal);
    if (signal.aborted) return;
    try {
      const now: Snapshot = await takeSnapshot(access, patienceMs);
      show({ now, before });
      before = now;
    } catch (thrown) {
      if (!(thrown instanceof StartError) || !isLive) throw thrown;
      show(messageOf(thrown));
    }
  }
}

/** Makes the subcommand. */
export function topCommand(): Command {
  return withRest(new Command("top"))
    .description(
      "Shows what the nodes do: commands, times, traffic, memory, lag. In a terminal it is drawn over until q or Ctrl-C; elsewhere a table for each interval is printed. Exit code 3: the node does not answer.",
    )
    .option("--interval <seconds>", "how often it looks", "2")
    .option("--count <number>", "ends after so many looks (default: goes on)")
    .addOption(new Option("--sort <order>", "which nodes come first").choices(TOP_ORDERS).default("name"))
    .option("--json", "prints a line of JSON for each look", false)
    .action(async (flags: TopFlags) => {
      const ending = untilInterrupted();
      const { stdin, stdout } = process;
      const isLive = stdout.isTTY && !flags.json;
      const onKey = (key: Buffer): void => {
        if (["q", "Q", CTRL_C].includes(key.toString())) ending.end();
      };
      const screen: TopScreen = {
        get columns() {
          return stdout.columns;
        },
        get rows() {
          return stdout.rows;
        },
        write: (text) => void stdout.write(text),
      };
      let picture = "";
      const redraw = (): void => draw(screen, picture);
      if (isLive) {
        screen.write(ENTER);
        stdout.on("resize", redraw);
        if (stdin.isTTY) {
          stdin.setRawMode(true);
          stdin.on("data", onKey);
          stdin.resume();
        }
      }
      let failure: unknown;
      try {
        await run(
          flags,
          ending.signal,
          (told) => {
            if (typeof told === "string") picture = `${picture.split("\n\n")[0] ?? ""}\n\n${told}`;
            else {
              const lines = topLines(told.before, told.now, flags.sort);
              picture = describeTop(told.now, lines);
              if (!isLive) {
                const { info } = told.now;
                const json = { at: Date.now(), state: info.state, map_version: info.map_version, nodes: lines };
                stdout.write(`${flags.json ? jsonText(json) : picture}\n`);
              }
            }
            if (isLive) redraw();
          },
          isLive,
        );
      } catch (thrown) {
        failure = thrown;
      } finally {
        if (isLive) {
          stdout.removeListener("resize", redraw);
          if (stdin.isTTY) {
            stdin.removeListener("data", onKey);
            stdin.setRawMode(false);
            stdin.pause();
          }
          screen.write(LEAVE);
        }
        ending.release();
      }
      if (failure !== undefined) sayUnknown(failure);
    });
}
