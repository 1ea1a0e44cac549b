// Runs a model's module on rows of integers in plain Node: no package, nothing imported.
//
//     node run_module.mjs MODULE.wasm ROWS.json
//
// Prints the rows that come out, or null where the model refuses an input.
import { readFileSync } from "node:fs";

const [module, rows] = process.argv.slice(2).map((path) => readFileSync(path));
const { instance } = await WebAssembly.instantiate(module, {});
const { memory, infer, input_ptr, input_len, output_ptr, output_len } = instance.exports;
const view = (pointer, length) => new Int32Array(memory.buffer, pointer.value, length.value);

const run = (row) => {
  view(input_ptr, input_len).set(row);
  return infer() === 0 ? Array.from(view(output_ptr, output_len)) : null;
};
console.log(JSON.stringify(JSON.parse(rows).map(run)));
