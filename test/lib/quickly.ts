/** What dist/berth.cjs makes of its words first, from the sources. */
import { quickly } from "../../src/cli/quick.ts";

process.exit(await quickly(process.argv.slice(2)));
