// Runs the steps of a client, says of each whether it was right, and ends the process accordingly.

export async function run(steps) {
  let failed = 0;
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step();
      console.log("ok  ", name);
    } catch (error) {
      failed += 1;
      console.log("FAIL", name, error);
    }
  }
  process.exit(failed ? 1 : 0);
}
