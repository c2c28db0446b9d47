/**
 * Transcripts: a text file of commands to a group of Raft members and, under each, what they then said and did.
 *
 * A line that begins with `> ` is a command; lines after it that are indented by four spaces are what came of it; any other line is for the reader.
 *
 *     > group N [key=value ...]      founds voters n1 to nN; the rest sets options of the machines
 *     > start ID                     a member with nothing
 *     > draw ID NUMBER ...           what its next random draws give: ticks that the election timeout is above its least
 *     > tick ID,... [COUNT]          time passes for some members, one after the other
 *     > elect ID [OTHER ...]         the others lose sight of their leader, and ID is elected; only who leads is told
 *     > deliver [FROM>TO [COUNT]]    until nobody has anything to say; or only what is under way now from one to another (`*` is anybody)
 *     > drop [FROM>TO [COUNT]]       messages are lost
 *     > cut ID | FROM>TO, > heal     from then on nothing gets through; everything does
 *     > slow ID, > prompt ID         writes to the disk wait for `persist`, or do not
 *     > persist ID                   the oldest write is durable
 *     > crash ID, > restart ID
 *     > propose ID TEXT, > read ID, > compact ID, > transfer ID TARGET
 *     > fetch ID MEMBER              it asks that member for what is committed
 *     > change ID add-learner|promote|demote|remove TARGET
 *     > log [ID ...]                 who everybody is, and what their logs hold
 */
import { present } from "../../src/assert.ts";
import { type ConfigurationChange, type PeerId, RAFT_DEFAULTS } from "../../src/protocol/raft/types.ts";
import { type Parcel, RaftScript, type RaftScriptOptions, member } from "./raft-script.ts";
import { tellConfiguration, tellEntry } from "./raft-telling.ts";

const PROMPT = "> ";
const INDENT = "    ";

/** Runs a transcript's commands. @returns The transcript as it should be. */
export function runTranscript(text: string): string {
  const run = new TranscriptRun();
  const lines: string[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith(INDENT)) continue;
    lines.push(line);
    if (!line.startsWith(PROMPT)) continue;
    const outcome = run.command(line.slice(PROMPT.length).trim().split(/\s+/));
    lines.push(...outcome.map((each) => INDENT + each));
  }
  return lines.join("\n");
}

class TranscriptRun {
  #script = new RaftScript();
  #reads = 0;

  command(words: readonly string[]): readonly string[] {
    const [name = "", id = "", ...rest] = words;
    const script = this.#script;
    switch (name) {
      case "group":
        this.#script = RaftScript.group(
          Array.from({ length: Number(id) }, (_, at) => `n${at + 1}`),
          optionsOf(rest),
        );
        break;
      case "start":
        script.add(id);
        break;
      case "draw":
        script.draw(id, ...rest.map(Number));
        break;
      case "tick":
        for (const each of id.split(",")) script.tick(each, Number(rest[0] ?? 1));
        break;
      case "elect":
        script.elect(id, ...rest);
        return script.takeLines().filter((line) => line.includes(" is leader in term "));
      case "deliver":
        if (id === "") script.settle();
        else script.deliver(linkOf(id), Number(rest[0] ?? Number.POSITIVE_INFINITY));
        break;
      case "drop":
        return script
          .take(id === "" ? undefined : linkOf(id), Number(rest[0] ?? Number.POSITIVE_INFINITY))
          .map(({ from, to, message }) => `lost: ${from} to ${to}: ${message.type}`);
      case "cut": {
        const [from = "", to] = id.split(">");
        script.cut(from, to);
        break;
      }
      case "heal":
        script.heal();
        break;
      case "slow":
        script.slowDisk(id);
        break;
      case "prompt":
        script.promptDisk(id);
        break;
      case "persist":
        return script.persist(id) ? script.takeLines() : ["nothing waits for the disk"];
      case "crash":
        script.crash(id);
        break;
      case "restart":
        script.restart(id);
        break;
      case "propose":
        script.propose(id, rest.join(" "));
        break;
      case "read":
        this.#reads += 1;
        script.step(id, { type: "read", id: this.#reads });
        break;
      case "compact":
        script.compact(id);
        break;
      case "transfer":
        script.step(id, { type: "transfer", target: rest[0] ?? "" });
        break;
      case "fetch":
        script.step(id, { type: "fetch", from: rest[0] ?? "" });
        break;
      case "change":
        script.step(id, { type: "change", id: 1, change: changeOf(rest) });
        break;
      case "log":
        return (id === "" ? script.ids : [id, ...rest]).flatMap((each) => logOf(script, each));
      default:
        throw new Error(`Cannot run "${words.join(" ")}": there is no such command`);
    }
    return this.#script.takeLines();
  }
}

function optionsOf(words: readonly string[]): RaftScriptOptions {
  const known = Object.keys(RAFT_DEFAULTS);
  return Object.fromEntries(
    words.map((word) => {
      const [key = "", value] = word.split("=");
      if (!known.includes(key)) throw new Error(`Cannot set "${key}": the machine has no such option`);
      return [key, Number(value)];
    }),
  );
}

function linkOf(text: string): (parcel: Parcel) => boolean {
  const [from = "*", to = "*"] = text.split(">");
  return (parcel) => (from === "*" || from === parcel.from) && (to === "*" || to === parcel.to);
}

function changeOf([kind = "", target = ""]: readonly string[]): ConfigurationChange {
  switch (kind) {
    case "add-learner":
      return { type: "add-learners", members: [member(target, false)] };
    case "promote":
    case "demote":
    case "remove":
      return { type: kind, id: target };
    default:
      throw new Error(`Cannot change members by "${kind}"`);
  }
}

function logOf(script: RaftScript, id: PeerId): readonly string[] {
  if (!script.isUp(id)) return [`${id}: down`];
  const { role, term, log, configuration } = script.machine(id);
  const entries: string[] = [];
  for (let index = log.firstIndex; index <= log.lastIndex; index += 1) {
    entries.push(`${INDENT}${tellEntry(present(log.entry(index), "the log has no gaps"))}`);
  }
  return [
    `${id}: ${role}, term ${term}, snapshot at ${log.snapshot.index}, committed to ${log.commitIndex}, members ${tellConfiguration(configuration)}`,
    ...entries,
  ];
}
