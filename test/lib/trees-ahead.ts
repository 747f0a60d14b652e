/** Makes the tree that most tests share, before they run: what it takes from the network is no test's time. */
import { debianTree } from "./trees.ts";

await debianTree("bookworm");
