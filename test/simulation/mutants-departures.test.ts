/** Each mutant is caught: see `mutants/hunts.ts`. */
import { describeHunts } from "./mutants/hunts.ts";

describeHunts("departures");
