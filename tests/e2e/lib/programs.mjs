// Where the programs under test and their helpers are: all binaries of the workspace in one directory.
import path from 'node:path';

const BIN = process.env.KAIGI_BIN ?? path.resolve(import.meta.dirname, '../../../target/debug');

/** The path of a binary of the workspace. */
export const program = (name) => path.join(BIN, name);
